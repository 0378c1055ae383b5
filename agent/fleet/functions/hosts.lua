-- Hosts

local function sum_capacities()
  local sum = {jobs = 0, millicpus = 0, memory_bytes = 0}
  for _, name in ipairs(redis.call('SMEMBERS', 'fleet:hosts')) do
    local h = redis.call('HMGET', 'fleet:host:' .. name, 'report', 'gone')
    if h[1] and not h[2] then sum = plus(sum, cjson.decode(h[1]).capacity, 1) end
  end
  redis.call('HSET', 'fleet:capacity', 'jobs', text(sum.jobs), 'millicpus', text(sum.millicpus),
    'memory_bytes', text(sum.memory_bytes))
end

-- A host's word that it is there, and what it has: {'ok', epoch, id…} with those of its jobs whose end was asked
-- for, or {'forgotten', epoch}: then it must end what it has, and call `back`.
local function join(_, args)
  local host, report = 'fleet:host:' .. args[1], args[2]
  redis.call('SADD', 'fleet:hosts', args[1])
  redis.call('HSETNX', host, 'epoch', 1)
  local h = redis.call('HMGET', host, 'epoch', 'gone', 'report')
  if h[2] then return {'forgotten', h[1]} end
  redis.call('HSET', host, 'seen', text(clock()))
  if h[3] ~= report then
    redis.call('HSET', host, 'report', report)
    sum_capacities()
  end
  local answer = {'ok', h[1]}
  for _, id in ipairs(redis.call('SMEMBERS', 'fleet:stop:' .. args[1])) do answer[#answer + 1] = id end
  return answer
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

-- An operator's word about a host, or its end: 'draining', it gets no new claims; 'barred', fronts answer it nothing.
-- {'ok'} or {'absent'}.
local function mark(_, args)
  local host = 'fleet:host:' .. args[1]
  if redis.call('EXISTS', host) == 0 then return {'absent'} end
  if args[3] == '1' then redis.call('HSET', host, args[2], 1) else redis.call('HDEL', host, args[2]) end
  return {'ok'}
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

-- One front at a time for a task, for so many seconds since it asked last: {'ok'} or {'not', who it is}.
local function elect(_, args)
  local key = 'fleet:elected:' .. args[3]
  local elected = redis.call('GET', key)
  if elected and elected ~= args[1] then return {'not', elected} end
  redis.call('SET', key, args[1], 'EX', args[2])
  return {'ok'}
end
