-- Retention

local TOMBSTONES = 100000  -- removed jobs whose ids are remembered

local function each_held(call)
  local names = redis.call('HKEYS', 'fleet:held')
  table.sort(names)
  for _, name in ipairs(names) do
    local kind, owner = string.match(name, '^jobs (%S+) (%S+)$')
    if kind then call(kind, owner) end
  end
end

-- Begins to count the age of jobs that have ended, at `now` by the clock of ages: {how many are left}. Those from
-- after `confirmed` do not age by the `leap` of the clock, which is kept with them.
local function age(_, args)
  local now, confirmed, leap = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
  redis.call('SET', 'fleet:age_clock', args[4])
  if leap > 0 then
    each_held(function(kind, owner)
      local key = 'fleet:old:' .. kind .. ' ' .. owner
      for _, id in ipairs(redis.call('ZRANGE', key, '(' .. text(confirmed), '+inf', 'BYSCORE')) do
        redis.call('ZINCRBY', key, text(leap), id)
      end
    end)
  end
  local ended = redis.call('ZPOPMIN', 'fleet:unaged', MOST)
  for at = 1, #ended, 2 do
    local id = ended[at]
    local j = fields(id, 'owner', 'ran')
    -- Microseconds before now keep the order of those whose age begins together.
    local since = text(now - 1 + redis.call('INCR', 'fleet:aged') % 1e6 / 1e6)
    redis.call('ZADD', 'fleet:old:' .. kind_of(j[2]) .. ' ' .. j[1], since, id)
  end
  return {redis.call('ZCARD', 'fleet:unaged')}
end

-- The oldest jobs of each owner and kind, `limit` of each at most: {{kind, owner, jobs, bytes, {id, age, bytes, …}}…}.
local function oldest(_, args)
  local answer = {}
  each_held(function(kind, owner)
    if kind == 'pinned' then return end
    local found = redis.call('ZRANGE', 'fleet:old:' .. kind .. ' ' .. owner, 0, tonumber(args[1]) - 1, 'WITHSCORES')
    local jobs = {}
    for at = 1, #found, 2 do
      local j = fields(found[at], 'bytes', 'finished')
      for _, value in ipairs({found[at], found[at + 1], j[1], j[2]}) do jobs[#jobs + 1] = value end
    end
    local name = kind .. ' ' .. owner
    local held = redis.call('HMGET', 'fleet:held', 'jobs ' .. name, 'record_bytes ' .. name)
    answer[#answer + 1] = {kind, owner, held[1], held[2], jobs}
  end)
  return answer
end

local function forget_tombstones()
  local surplus = redis.call('ZCARD', 'fleet:removed') - TOMBSTONES
  for _ = 1, math.min(surplus, MOST) do
    local found = redis.call('ZPOPMIN', 'fleet:removed')
    local id = found[1]
    local owner = redis.call('HGET', 'fleet:tombstones', id)
    redis.call('ZREM', 'fleet:removed:' .. owner, id)
    redis.call('HDEL', 'fleet:tombstones', id)
    redis.call('HDEL', 'fleet:prefixes', string.sub(id, 1, 8))
    redis.call('SET', 'fleet:forgotten', found[2])
  end
end

local function remove_one(id)
  local job = 'fleet:job:' .. id
  local j = fields(id, 'state', 'pinned', 'owner', 'key', 'ran', 'bytes')
  if j[1] ~= 'ended' or j[2] then return false end
  local owner, kind = j[3], kind_of(j[5])
  for _, name in ipairs({'fleet:jobs', 'fleet:ended'}) do
    redis.call('ZREM', name, id)
    redis.call('ZREM', name .. ':' .. owner, id)
  end
  redis.call('ZREM', 'fleet:unaged', id)
  redis.call('ZREM', 'fleet:old:' .. kind .. ' ' .. owner, id)
  count_held(owner, kind, tonumber(j[6]), -1)
  if j[4] ~= '' then
    local key = 'fleet:key:' .. owner .. ':' .. j[4]
    if redis.call('HGET', key, 'id') == id then redis.call('DEL', key) end
  end
  redis.call('DEL', job, 'fleet:document:' .. id, 'fleet:request:' .. id)
  local number = next_change()
  redis.call('ZADD', 'fleet:removed', number, id)
  redis.call('ZADD', 'fleet:removed:' .. owner, number, id)
  redis.call('HSET', 'fleet:tombstones', id, owner)
  return true
end

-- Removes the records of ended jobs: {id…} of those that it was done for, and not of one that was pinned meanwhile.
-- Their ids stay taken, and their removal is a change, as long as `TOMBSTONES` allows.
local function remove_ended(_, args)
  local answer = {}
  for _, id in ipairs(args) do
    if remove_one(id) then answer[#answer + 1] = id end
  end
  forget_tombstones()
  return answer
end
