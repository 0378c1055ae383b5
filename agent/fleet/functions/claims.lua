-- Claiming

local function take(id, host, now)
  local j = fields(id, 'owner', 'attempt', 'millicpus', 'memory', 'longest')
  local job, fence = 'fleet:job:' .. id, redis.call('INCR', 'fleet:fence')
  dequeue(id)
  redis.call('HSET', job, 'state', 'claimed', 'host', host, 'fence', fence, 'claimed', text(now))
  redis.call('SADD', 'fleet:on:' .. host, id)
  local share = share_of(room_of(j[3], j[4]), fleet_capacity())
  redis.call('HSET', 'fleet:running:' .. j[1], id, text(now) .. ' ' .. text(share) .. ' ' .. j[5])
  redis.call('DEL', 'fleet:kept:' .. id)
  if redis.call('HGET', 'fleet:host:' .. host, 'kept') == id then
    redis.call('HDEL', 'fleet:host:' .. host, 'kept')
  end
  changed(id, j[1])
  return {'ok', id, tostring(fence), j[2], j[1], redis.call('GET', 'fleet:request:' .. id)}
end

-- The next waiting job of a list; its `id` is nil at the end.
local function advance(list, now)
  local found = redis.call('ZRANGE', list.key, list.at, list.at, 'WITHSCORES')
  list.at = list.at + 1
  list.id = found[1]
  if not list.id then return end
  list.accepted = tonumber(found[2])
  list.level = list.priority
  if list.priority < 0 then
    local waited = math.max(0, now - tonumber(fields(list.id, 'created')[1]))
    list.level = math.min(0, list.priority + math.floor(waited / AGEING))
  end
end

-- Whether `a` comes before `b`: by priority, then by what its owner has had, then by age.
local function before(a, b, loads)
  if a.level ~= b.level then return a.level > b.level end
  if loads[a.owner] ~= loads[b.owner] then return loads[a.owner] < loads[b.owner] end
  return a.accepted < b.accepted
end

-- Whether the host may run the job at all: it is large enough, has the image and the newest secrets, and did not
-- refuse it lately.
local function eligible(id, owner, room, digest, secrets, a)
  if not holds(a.capacity, room) then return false end
  if digest ~= '' and not a.digests[digest] then return false end
  if redis.call('SISMEMBER', 'fleet:not:' .. id, a.host) == 1 then return false end
  if redis.call('EXISTS', refusal(id, a.host)) == 1 then return false end
  return not lacks(owner, cjson.decode(secrets), a.host)
end

-- Room for a job that does not fit now: by when it has it, and what else is free then.
local function reserve(id, owner, room, free, running, now, a)
  local at = now
  table.sort(running, function(x, y)
    local one, other = math.max(now, x.ends_by), math.max(now, y.ends_by)
    if one ~= other then return one < other end
    return x.id < y.id
  end)
  for _, each in ipairs(running) do
    if holds(free, room) then break end
    free, at = plus(free, each.room, 1), math.max(at, each.ends_by)
  end
  -- What is left is taken by jobs that the fleet did not give to the host.
  if not holds(free, room) then free, at = a.capacity, math.max(at, now + a.ends_in) end
  return {id = id, owner = owner, at = at, spare = plus(free, room, -1)}
end

-- Whether the host is drained before a job must have ended that starts then: it would only keep it waiting.
local function hindered(longest, at, now, a)
  return type(a.closes_in) == 'number' and at + tonumber(longest) > now + a.closes_in
end

-- Whether the owner has as many jobs running as a user may have. One with a reservation counts as if it ran: here
-- from its turn on, as on one host, and on another host always.
local function at_limit(id, owner, reservation, a)
  if type(a.max_running) ~= 'number' then return false end
  local count = redis.call('HLEN', 'fleet:running:' .. owner)
  if reservation and reservation.owner == owner then
    count = count + 1
  else
    local reserved = redis.call('GET', 'fleet:kept-of:' .. owner)
    local on = reserved and reserved ~= id and redis.call('GET', 'fleet:kept:' .. reserved)
    if on and on ~= a.host then count = count + 1 end
  end
  return count >= a.max_running
end

-- The first of the lists in order whose next job is not seen yet, or nil.
local function first_of(lists, loads)
  local first
  for _, list in ipairs(lists) do
    if list.id and (not first or before(list, first, loads)) then first = list end
  end
  return first
end

-- One walk over the waiting jobs in order, up to the first one that starts. The last value says whether it has
-- looked at as many as it may.
local function walk(a, lists, loads, free, running, kept, now)
  local whole, reservation, waits = fleet_capacity(), nil, a.passed
  for _ = 1, MOST do
    local first, list = first_of(lists, loads), nil
    local id, owner
    -- The job with the reservation stays first in its priority.
    if kept and (not first or kept.level >= first.level) then
      id, owner, kept = kept.id, kept.owner, nil
    elseif first then
      id, owner, list = first.id, first.owner, first
    else
      break
    end
    if not a.seen[id] then
      a.seen[id] = true
      local j = fields(id, 'millicpus', 'memory', 'run_time', 'digest', 'secrets', 'longest')
      local room = room_of(j[1], j[2])
      loads[owner] = loads[owner] + share_of(room, whole) * LEAST
      local able = eligible(id, owner, room, j[4], j[5], a)
      if list and able then list.unable = false end
      if list and list.unable then list.skip = text(list.accepted) end
      waits = true
      if able and not hindered(j[6], now, now, a) and not at_limit(id, owner, reservation, a) then
        if not holds(free, room) then
          local on = not reservation and redis.call('GET', 'fleet:kept:' .. id)
          if not reservation and (not on or on == a.host) then
            local wanted = reserve(id, owner, room, free, running, now, a)
            -- As on one host: a job that cannot count on a start before the drain keeps nobody from the room.
            if not hindered(j[6], wanted.at, now, a) then reservation = wanted end
          end
        elseif not reservation or now + tonumber(j[3]) <= reservation.at or holds(reservation.spare, room) then
          return id, reservation, waits
        end
      end
    elseif list then
      list.unable = false  -- it has the reservation
    end
    if list then advance(list, now) end
  end
  return nil, reservation, waits, first_of(lists, loads) ~= nil
end

local function set_of(list)
  local set = {}
  for _, each in ipairs(list) do set[each] = true end
  return set
end

-- What the host has of the fleet's, and the room that it leaves.
local function room_on(a)
  local free, running = plus(a.capacity, a.others, -1), {}
  for _, id in ipairs(redis.call('SMEMBERS', 'fleet:on:' .. a.host)) do
    local j = fields(id, 'millicpus', 'memory', 'claimed', 'run_time')
    local room = room_of(j[1], j[2])
    free = plus(free, room, -1)
    running[#running + 1] = {id = id, room = room, ends_by = tonumber(j[3]) + tonumber(j[4])}
  end
  return free, running
end

-- The jobs that wait for some needs, as lists, and what their owners have had. `skips` has, by list, up to which
-- job it is passed over.
local function waiting_for(a, skips, now)
  local lists, loads = {}, {}
  for _, need in ipairs(a.needs) do
    for _, name in ipairs(redis.call('SMEMBERS', 'fleet:lists:' .. need)) do
      local priority, owner = string.match(name, '^%S+ (%S+) (%S+)$')
      local list = {name = name, key = 'fleet:wait:' .. name, owner = owner, priority = tonumber(priority)}
      list.unable, list.skip, list.at = true, skips[name], 0
      if list.skip then list.at = redis.call('ZCOUNT', list.key, '-inf', list.skip) end
      a.passed = a.passed or list.at > 0
      loads[owner] = loads[owner] or load_of(owner, now, a.half_life)
      advance(list, now)
      lists[#lists + 1] = list
    end
  end
  return lists, loads
end

-- What the host has skipped, by list, as long as it sees the same: its size, images and secrets, and no job that
-- has begun to wait once more.
local function skipped_by(host, sight)
  local now = sight
  for _, number in ipairs({'requeued', 'secrets-changed', 'has-changed'}) do
    now = now .. ' ' .. (redis.call('GET', 'fleet:' .. number) or 0)
  end
  local key, skips = 'fleet:skip:' .. host, {}
  if redis.call('GET', 'fleet:sight:' .. host) ~= now then
    redis.call('SET', 'fleet:sight:' .. host, now)
    redis.call('DEL', key)
    return skips
  end
  local found = redis.call('HGETALL', key)
  for at = 1, #found, 2 do skips[found[at]] = found[at + 1] end
  return skips
end

-- After a walk that saw too many: the next one begins behind those at the beginning of a list that the host can
-- never run. Before that, they count for their owner's turn like all others, as on one host. A refusal ends, and so
-- does what is skipped.
local function remember_skipped(host, lists, skips)
  for _, list in ipairs(lists) do
    if list.skip ~= skips[list.name] then redis.call('HSET', 'fleet:skip:' .. host, list.name, list.skip) end
  end
  redis.call('EXPIRE', 'fleet:skip:' .. host, AGAIN, 'NX')
end

local function kept_by(host, now)
  local id = redis.call('HGET', 'fleet:host:' .. host, 'kept')
  if not id then return nil end
  local j = fields(id, 'state', 'owner', 'priority', 'created')
  if j[1] ~= 'waiting' then return nil end
  local kept = {id = id, owner = j[2], level = tonumber(j[3])}
  if kept.level < 0 then
    kept.level = math.min(0, kept.level + math.floor(math.max(0, now - tonumber(j[4])) / AGEING))
  end
  return kept
end

-- The claim of a host with room: {'ok', id, fence, attempt, owner, request}, or {why not}.
local function claim_next(_, args)
  local a, now = cjson.decode(args[1]), clock()
  local host = 'fleet:host:' .. a.host
  local h = redis.call('HMGET', host, 'epoch', 'gone', 'draining', 'kept')
  if h[1] ~= a.epoch or h[2] then return {'fenced'} end
  redis.call('HSET', host, 'seen', text(now))
  if h[3] then return {'draining'} end
  local free, running = room_on(a)
  if free.jobs <= 0 then return {'full'} end
  local skips = skipped_by(a.host, a.sight)
  local lists, loads = waiting_for(a, skips, now)
  local kept = kept_by(a.host, now)
  if kept and not loads[kept.owner] then kept = nil end  -- the host no longer offers what it needs
  a.digests, a.seen = set_of(a.digests), {}
  local id, reservation, waits, more = walk(a, lists, loads, free, running, kept, now)
  if more then remember_skipped(a.host, lists, skips) end
  if reservation then
    if h[4] and h[4] ~= reservation.id then redis.call('DEL', 'fleet:kept:' .. h[4]) end
    redis.call('HSET', host, 'kept', reservation.id)
    redis.call('SET', 'fleet:kept:' .. reservation.id, a.host, 'EX', KEPT)
    redis.call('SET', 'fleet:kept-of:' .. reservation.owner, reservation.id, 'EX', KEPT)
  end
  if id then return take(id, a.host, now) end
  return {waits and 'none-fits' or 'empty'}
end
