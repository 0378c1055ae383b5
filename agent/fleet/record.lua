#!lua name=fleet1
-- The fleet's record. Each function is one step of a job or of a host, and atomic: nobody sees half of it.
--
-- The names of the library and of its functions have the version of this file. A front loads its own version
-- beside the others, so fronts of two versions work on one record.
--
--   fleet:job:ID                    hash    a job; see `submit` and `take` for its fields. All are short: then
--                                           Redis keeps them in a third of the memory
--   fleet:document:ID, …:request:ID string  the job as clients see it, and what its host is given, in JSON
--   fleet:prefixes                  hash    the first eight characters of each id, and the id
--   fleet:key:OWNER:KEY             hash    an idempotency key: fingerprint and id
--   fleet:jobs, fleet:jobs:OWNER    zset    ids in the order of acceptance
--   fleet:changes, …:OWNER          zset    ids, each with the number of its newest change
--   fleet:wait:NEED PRIORITY OWNER  zset    ids that wait, in the order of acceptance
--   fleet:lists:NEED                set     the names of those lists that are not empty
--   fleet:pending, fleet:waits      hash    how many jobs wait, by need and by owner
--   fleet:uses                      hash    by owner: seconds of the whole fleet, and their time
--   fleet:running:OWNER             hash    by id: since when, share of the fleet, longest time
--   fleet:host:NAME, fleet:hosts    hash, set
--   fleet:on:NAME                   set     the ids that a host has
--   fleet:kept:ID                   string  the host on which room is reserved for a waiting job
--   fleet:elected                   string  the front that looks for missing tickets
--
-- Times are seconds since 1970 by the clock of Redis, the only one that all hosts share. A room is places,
-- CPUs in thousandths, and bytes of memory. The rules of turns are those of agent/scheduling/policy.py.

local LEAST = 10     -- seconds that a job counts for at least
local AGEING = 3600  -- seconds after which a lowered priority rises one step
local MOST = 500     -- waiting jobs that one claim looks at: some milliseconds
local KEPT = 60      -- seconds that a reservation outlives the last claim of its host

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

-- `..` would cut a number to 14 digits.
local function text(number) return string.format('%.17g', number) end

local function fields(id, ...) return redis.call('HMGET', 'fleet:job:' .. id, ...) end

-- A new revision of a job, for everybody who follows.
local function changed(id, owner)
  local number = redis.call('INCR', 'fleet:changed')
  redis.call('HINCRBY', 'fleet:job:' .. id, 'revision', 1)
  redis.call('ZADD', 'fleet:changes', number, id)
  redis.call('ZADD', 'fleet:changes:' .. owner, number, id)
  redis.call('PUBLISH', 'fleet:changed', number)
end

-- Rooms

local function room_of(millicpus, memory)
  return {jobs = 1, millicpus = tonumber(millicpus), memory_bytes = tonumber(memory)}
end

local function plus(a, b, sign)
  return {
    jobs = a.jobs + sign * b.jobs,
    millicpus = a.millicpus + sign * b.millicpus,
    memory_bytes = a.memory_bytes + sign * b.memory_bytes,
  }
end

local function holds(a, b)
  return a.jobs >= b.jobs and a.millicpus >= b.millicpus and a.memory_bytes >= b.memory_bytes
end

local function fleet_capacity()
  local sum = redis.call('HMGET', 'fleet:capacity', 'jobs', 'millicpus', 'memory_bytes')
  return {jobs = tonumber(sum[1]), millicpus = tonumber(sum[2]), memory_bytes = tonumber(sum[3])}
end

-- The largest of the shares of each resource of the whole fleet.
local function share_of(room, whole)
  local cpus, memory = room.millicpus / whole.millicpus, room.memory_bytes / whole.memory_bytes
  return math.max(room.jobs / whole.jobs, cpus, memory)
end

-- What users have had

local function used(owner, now, half_life)
  local entry = redis.call('HGET', 'fleet:uses', owner)
  if not entry then return 0 end
  local seconds, at = string.match(entry, '(%S+) (%S+)')
  return tonumber(seconds) * 2 ^ (-math.max(0, now - tonumber(at)) / half_life)
end

local function cost(entry, now)
  local since, share, longest = string.match(entry, '(%S+) (%S+) (%S+)')
  local had = math.min(now - tonumber(since), tonumber(longest))
  return tonumber(share) * math.max(had, LEAST)
end

local function load_of(owner, now, half_life)
  local sum = used(owner, now, half_life)
  for _, entry in ipairs(redis.call('HVALS', 'fleet:running:' .. owner)) do sum = sum + cost(entry, now) end
  return sum
end

-- A job gives its room back. It counts for its owner, unless it never began.
local function give_back(id, owner, host, half_life)
  redis.call('SREM', 'fleet:on:' .. host, id)
  local running = 'fleet:running:' .. owner
  local entry = redis.call('HGET', running, id)
  if entry and half_life then
    local now = clock()
    local sum = used(owner, now, half_life) + cost(entry, now)
    redis.call('HSET', 'fleet:uses', owner, text(sum) .. ' ' .. text(now))
  end
  redis.call('HDEL', running, id)
end

-- Waiting

local function enqueue(id)
  local j = fields(id, 'need', 'priority', 'owner', 'accepted')
  local list, fence = j[1] .. ' ' .. j[2] .. ' ' .. j[3], redis.call('INCR', 'fleet:fence')
  redis.call('HSET', 'fleet:job:' .. id, 'state', 'waiting', 'host', '', 'fence', fence)
  redis.call('ZADD', 'fleet:wait:' .. list, j[4], id)
  redis.call('SADD', 'fleet:lists:' .. j[1], list)
  redis.call('HINCRBY', 'fleet:pending', j[1], 1)
  redis.call('HINCRBY', 'fleet:waits', j[3], 1)
end

local function dequeue(id)
  local j = fields(id, 'need', 'priority', 'owner')
  local list = j[1] .. ' ' .. j[2] .. ' ' .. j[3]
  if redis.call('ZREM', 'fleet:wait:' .. list, id) == 0 then return end
  if redis.call('EXISTS', 'fleet:wait:' .. list) == 0 then
    redis.call('SREM', 'fleet:lists:' .. j[1], list)
  end
  redis.call('HINCRBY', 'fleet:pending', j[1], -1)
  if redis.call('HINCRBY', 'fleet:waits', j[3], -1) <= 0 then redis.call('HDEL', 'fleet:waits', j[3]) end
end

local function finish(id, status, reason)
  redis.call('HSET', 'fleet:job:' .. id, 'state', 'ended', 'status', status, 'reason', reason,
    'finished', text(clock()))
end

-- Submits a job: {'new' | 'known', id}, {'mismatch'}, {'too-many', count} or {'id-taken'}.
local function submit(_, args)
  local a, now = cjson.decode(args[1]), clock()
  local job, key = 'fleet:job:' .. a.id, 'fleet:key:' .. a.owner .. ':' .. a.key
  if a.key ~= '' then
    local known = redis.call('HMGET', key, 'fingerprint', 'id')
    if known[1] and known[1] ~= a.fingerprint then return {'mismatch'} end
    if known[1] then
      -- Something is written: WAIT waits for the writes of its own connection only, and this answer, too,
      -- promises that the job is on the replica.
      redis.call('HSET', key, 'repeated', text(now))
      return {'known', known[2]}
    end
  end
  local waits = tonumber(redis.call('HGET', 'fleet:waits', a.owner) or 0)
  if waits >= a.max_waiting then return {'too-many', waits} end
  if redis.call('HSETNX', 'fleet:prefixes', string.sub(a.id, 1, 8), a.id) == 0 then return {'id-taken'} end
  if a.key ~= '' then redis.call('HSET', key, 'fingerprint', a.fingerprint, 'id', a.id) end
  local accepted = redis.call('INCR', 'fleet:accepted')
  redis.call('HSET', job,
    'owner', a.owner, 'need', a.need, 'priority', text(a.priority), 'accepted', accepted,
    'created', text(now),
    'millicpus', text(a.millicpus), 'memory', text(a.memory_bytes),
    'run_time', text(a.run_time), 'longest', text(a.longest),
    'digest', a.digest, 'secrets', cjson.encode(a.secrets),
    'attempt', 1, 'max_attempts', text(a.max_attempts), 'again', a.again and 1 or 0,
    'status', 'PENDING', 'host_revision', 0)
  redis.call('MSET', 'fleet:document:' .. a.id, a.document, 'fleet:request:' .. a.id, a.request)
  redis.call('ZADD', 'fleet:jobs', accepted, a.id)
  redis.call('ZADD', 'fleet:jobs:' .. a.owner, accepted, a.id)
  enqueue(a.id)
  changed(a.id, a.owner)
  return {'new', a.id}
end

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

-- The next waiting job of a list, or nil.
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

-- Whether the host may run the job at all: it has the image and the newest secrets, and did not refuse it.
local function eligible(id, digest, secrets, a)
  if digest ~= '' and not a.digests[digest] then return false end
  if redis.call('SISMEMBER', 'fleet:not:' .. id, a.host) == 1 then return false end
  for name, version in pairs(cjson.decode(secrets)) do
    if a.secrets[name] ~= version then return false end
  end
  return true
end

-- Room for a job that does not fit now: by when it has it, and what else is free then.
local function reserve(room, free, running, now, a)
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
  return {at = at, spare = plus(free, room, -1)}
end

-- One walk over the waiting jobs in order, up to the first one that starts.
local function walk(a, lists, loads, free, running, kept, now)
  local whole, reservation, waits = fleet_capacity(), nil, false
  for _ = 1, MOST do
    local first
    for _, list in ipairs(lists) do
      if list.id and (not first or before(list, first, loads)) then first = list end
    end
    local id, owner
    -- The job with the reservation stays first in its priority.
    if kept and (not first or kept.level >= first.level) then
      id, owner, kept = kept.id, kept.owner, nil
    elseif first then
      id, owner = first.id, first.owner
      advance(first, now)
    else
      break
    end
    if not a.seen[id] then
      a.seen[id] = true
      local j = fields(id, 'millicpus', 'memory', 'run_time', 'digest', 'secrets')
      local room = room_of(j[1], j[2])
      loads[owner] = loads[owner] + share_of(room, whole) * LEAST
      if not holds(a.capacity, room) or not eligible(id, j[4], j[5], a) then
        waits = true
      elseif not holds(free, room) then
        waits = true
        local on = not reservation and redis.call('GET', 'fleet:kept:' .. id)
        if not reservation and (not on or on == a.host) then
          reservation = reserve(room, free, running, now, a)
          reservation.id = id
        end
      elseif reservation and now + tonumber(j[3]) > reservation.at and not holds(reservation.spare, room) then
        waits = true
      else
        return id, reservation, waits
      end
    end
  end
  return nil, reservation, waits
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

-- The jobs that wait for what the host offers, as lists, and what their owners have had.
local function waiting_for(a, now)
  local lists, loads = {}, {}
  for _, need in ipairs(a.needs) do
    for _, name in ipairs(redis.call('SMEMBERS', 'fleet:lists:' .. need)) do
      local priority, owner = string.match(name, '^%S+ (%S+) (%S+)$')
      local list = {key = 'fleet:wait:' .. name, owner = owner, priority = tonumber(priority), at = 0}
      loads[owner] = loads[owner] or load_of(owner, now, a.half_life)
      advance(list, now)
      lists[#lists + 1] = list
    end
  end
  return lists, loads
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
  local lists, loads = waiting_for(a, now)
  local kept = kept_by(a.host, now)
  if kept and not loads[kept.owner] then kept = nil end  -- the host no longer offers what it needs
  a.digests, a.seen = set_of(a.digests), {}
  local id, reservation, waits = walk(a, lists, loads, free, running, kept, now)
  if reservation then
    if h[4] and h[4] ~= reservation.id then redis.call('DEL', 'fleet:kept:' .. h[4]) end
    redis.call('HSET', host, 'kept', reservation.id)
    redis.call('SET', 'fleet:kept:' .. reservation.id, a.host, 'EX', KEPT)
  end
  if id then return take(id, a.host, now) end
  return {waits and 'none-fits' or 'empty'}
end

-- What a host does with its claims. A fence is of one claim; whoever shows an older one comes too late.

local function mine(id, host, fence)
  local j = fields(id, 'host', 'fence', 'state')
  return j[1] == host and j[2] == fence and j[3] ~= 'ended'
end

-- Right before a job is given to the host's agent: {'ok'}, {'cancelled'} or {'stale'}.
local function confirm(_, args)
  local id, host, epoch, fence = args[1], args[2], args[3], args[4]
  local h = redis.call('HMGET', 'fleet:host:' .. host, 'epoch', 'gone')
  if h[1] ~= epoch or h[2] or not mine(id, host, fence) then return {'stale'} end
  redis.call('HSET', 'fleet:host:' .. host, 'seen', text(clock()))
  local j = fields(id, 'cancel', 'owner', 'state')
  if not j[1] or j[3] ~= 'claimed' then return {'ok'} end
  give_back(id, j[2], host)
  finish(id, 'CANCELLED', 'cancelled')
  changed(id, j[2])
  return {'cancelled'}
end

-- The host's agent has the job: {'ok', 1 if its end was asked for meanwhile} or {'stale'}.
local function acknowledge(_, args)
  local id, host, fence = args[1], args[2], args[3]
  if not mine(id, host, fence) then return {'stale'} end
  redis.call('HSET', 'fleet:job:' .. id, 'state', 'given')
  return {'ok', redis.call('HEXISTS', 'fleet:job:' .. id, 'cancel')}
end

-- The host's agent does not have the job and will not: it waits again. With '1', not for this host.
local function release(_, args)
  local id, host, fence, elsewhere = args[1], args[2], args[3], args[4]
  if not mine(id, host, fence) then return {'stale'} end
  local j = fields(id, 'owner', 'cancel')
  give_back(id, j[1], host)
  if elsewhere == '1' then redis.call('SADD', 'fleet:not:' .. id, host) end
  if j[2] then finish(id, 'CANCELLED', 'cancelled') else enqueue(id) end
  changed(id, j[1])
  return {'ok'}
end

-- A revision of a job that its host has committed: {'ok'}, {'old'} or {'stale'}.
local function project(_, args)
  local a = cjson.decode(args[1])
  local job = 'fleet:job:' .. a.id
  local j = fields(a.id, 'host_revision', 'owner', 'host', 'fence', 'state')
  if j[3] ~= a.host or j[4] ~= a.fence then return {'stale'} end
  if tonumber(j[1]) >= a.revision then return {'old'} end
  if j[5] == 'ended' then return {'stale'} end
  redis.call('HSET', job, 'host_revision', text(a.revision), 'state', 'given', 'status', a.status)
  redis.call('SET', 'fleet:document:' .. a.id, a.document)
  if a.ended then
    give_back(a.id, j[2], a.host, a.half_life)
    finish(a.id, a.status, a.reason)
  end
  changed(a.id, j[2])
  return {'ok'}
end

-- Asks for the end of a job: {'ended'} for one that waits, {'on', host}, {'over'} or {'absent'}.
local function cancel(_, args)
  local id = args[1]
  local j = fields(id, 'state', 'owner', 'host', 'cancel')
  if not j[1] then return {'absent'} end
  if j[1] == 'ended' then return {'over'} end
  if not j[4] then redis.call('HSET', 'fleet:job:' .. id, 'cancel', 1) end
  if j[1] == 'waiting' then
    dequeue(id)
    finish(id, 'CANCELLED', 'cancelled')
  end
  if not j[4] then changed(id, j[2]) end
  return j[1] == 'waiting' and {'ended'} or {'on', j[3]}
end

-- Hosts

local function sum_capacities()
  local sum = {jobs = 0, millicpus = 0, memory_bytes = 0}
  for _, name in ipairs(redis.call('SMEMBERS', 'fleet:hosts')) do
    local h = redis.call('HMGET', 'fleet:host:' .. name, 'capacity', 'gone')
    if h[1] and not h[2] then sum = plus(sum, cjson.decode(h[1]), 1) end
  end
  redis.call('HSET', 'fleet:capacity', 'jobs', text(sum.jobs), 'millicpus', text(sum.millicpus),
    'memory_bytes', text(sum.memory_bytes))
end

-- A host's word that it is there: {'ok', epoch}, or {'forgotten', epoch}: then it must end what it has, and
-- call `back`.
local function join(_, args)
  local host, capacity = 'fleet:host:' .. args[1], args[2]
  redis.call('SADD', 'fleet:hosts', args[1])
  redis.call('HSETNX', host, 'epoch', 1)
  local h = redis.call('HMGET', host, 'epoch', 'gone', 'capacity')
  if h[2] then return {'forgotten', h[1]} end
  redis.call('HSET', host, 'seen', text(clock()), 'capacity', capacity)
  if h[3] ~= capacity then sum_capacities() end
  return {'ok', h[1]}
end

-- A forgotten host has ended what it had, and begins as new: {'ok', epoch} or {'stale'}.
local function back(_, args)
  local host = 'fleet:host:' .. args[1]
  if redis.call('HGET', host, 'epoch') ~= args[2] then return {'stale'} end
  redis.call('HDEL', host, 'gone', 'kept')
  redis.call('HSET', host, 'seen', text(clock()))
  sum_capacities()
  return {'ok', args[2]}
end

-- No new claims for a host, or claims again: {'ok'} or {'absent'}.
local function drain(_, args)
  local host = 'fleet:host:' .. args[1]
  if redis.call('EXISTS', host) == 0 then return {'absent'} end
  if args[2] == '1' then redis.call('HSET', host, 'draining', 1) else redis.call('HDEL', host, 'draining') end
  return {'ok'}
end

-- A job of a host that is gone: it is tried elsewhere if it asked for that, and otherwise was interrupted.
-- One that is only claimed may have begun all the same: its member may have died after the agent took it.
local function lose(id, host, half_life)
  local j = fields(id, 'owner', 'attempt', 'max_attempts', 'again', 'cancel')
  give_back(id, j[1], host, half_life)
  redis.call('SADD', 'fleet:not:' .. id, host)
  if j[5] then
    finish(id, 'CANCELLED', 'cancelled')
  elseif j[4] == '1' and tonumber(j[2]) < tonumber(j[3]) then
    local job = 'fleet:job:' .. id
    redis.call('HSET', job, 'attempt', tonumber(j[2]) + 1, 'status', 'PENDING', 'host_revision', 0)
    enqueue(id)
  else
    finish(id, 'FAILED', 'interrupted')
  end
  changed(id, j[1])
end

-- An operator's word that a host is lost: {'ok', epoch, id…}, {'alive', seconds of silence} or {'absent'}.
local function forget(_, args)
  local host, least, half_life = args[1], tonumber(args[2]), tonumber(args[3])
  local h = redis.call('HMGET', 'fleet:host:' .. host, 'seen', 'gone')
  if not h[1] then return {'absent'} end
  local silent = clock() - tonumber(h[1])
  if silent < least then return {'alive', text(silent)} end
  local epoch = redis.call('HINCRBY', 'fleet:host:' .. host, 'epoch', 1)
  redis.call('HSET', 'fleet:host:' .. host, 'gone', text(clock()))
  local kept = redis.call('HGET', 'fleet:host:' .. host, 'kept')
  if kept then redis.call('DEL', 'fleet:kept:' .. kept) end
  sum_capacities()
  local answer = {'ok', tostring(epoch)}
  for _, id in ipairs(redis.call('SMEMBERS', 'fleet:on:' .. host)) do
    lose(id, host, half_life)
    answer[#answer + 1] = id
  end
  return answer
end

-- One front at a time, for so many seconds since it asked last: {'ok'} or {'not', who it is}.
local function elect(_, args)
  local elected = redis.call('GET', 'fleet:elected')
  if elected and elected ~= args[1] then return {'not', elected} end
  redis.call('SET', 'fleet:elected', args[1], 'EX', args[2])
  return {'ok'}
end

-- Only a new job may be refused for the lack of memory: otherwise a full record would never drain.
local ALWAYS = {'allow-oom'}
redis.register_function('fleet1_submit', submit)
redis.register_function{function_name = 'fleet1_claim_next', callback = claim_next, flags = ALWAYS}
redis.register_function{function_name = 'fleet1_confirm', callback = confirm, flags = ALWAYS}
redis.register_function{function_name = 'fleet1_acknowledge', callback = acknowledge, flags = ALWAYS}
redis.register_function{function_name = 'fleet1_release', callback = release, flags = ALWAYS}
redis.register_function{function_name = 'fleet1_project', callback = project, flags = ALWAYS}
redis.register_function{function_name = 'fleet1_cancel', callback = cancel, flags = ALWAYS}
redis.register_function{function_name = 'fleet1_join', callback = join, flags = ALWAYS}
redis.register_function{function_name = 'fleet1_back', callback = back, flags = ALWAYS}
redis.register_function{function_name = 'fleet1_drain', callback = drain, flags = ALWAYS}
redis.register_function{function_name = 'fleet1_forget', callback = forget, flags = ALWAYS}
redis.register_function{function_name = 'fleet1_elect', callback = elect, flags = ALWAYS}
