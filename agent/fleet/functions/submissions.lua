-- Submissions, and what users ask for

-- Submits a job: {'new' | 'known', id}, {'mismatch'}, {'too-many', count}, {'too-large', bytes} or {'id-taken'}.
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
  local bytes = 0
  for _, kind in ipairs({'ran', 'never-ran', 'pinned'}) do
    bytes = bytes + tonumber(redis.call('HGET', 'fleet:held', 'record_bytes ' .. kind .. ' ' .. a.owner) or 0)
  end
  if bytes >= a.max_record_bytes then return {'too-large', bytes} end
  if redis.call('HSETNX', 'fleet:prefixes', string.sub(a.id, 1, 8), a.id) == 0 then return {'id-taken'} end
  if a.key ~= '' then redis.call('HSET', key, 'fingerprint', a.fingerprint, 'id', a.id) end
  local accepted = redis.call('INCR', 'fleet:accepted')
  redis.call('HSET', job,
    'owner', a.owner, 'key', a.key, 'script', a.script, 'need', a.need, 'priority', text(a.priority), 'accepted', accepted,
    'created', text(now),
    'millicpus', text(a.millicpus), 'memory', text(a.memory_bytes),
    'run_time', text(a.run_time), 'longest', text(a.longest),
    'digest', a.digest, 'rerun_of', a.rerun_of, 'secrets', cjson.encode(a.secrets),
    'attempt', 1, 'max_attempts', text(a.max_attempts), 'again', a.again and 1 or 0,
    'status', 'PENDING', 'host_revision', 0)
  redis.call('MSET', 'fleet:document:' .. a.id, a.document, 'fleet:request:' .. a.id, a.request)
  redis.call('ZADD', 'fleet:jobs', accepted, a.id)
  redis.call('ZADD', 'fleet:jobs:' .. a.owner, accepted, a.id)
  enqueue(a.id, false)
  changed(a.id, a.owner)
  return {'new', a.id}
end

-- The job of an earlier submission with this key: {'known', id}, {'mismatch'} or {'none'}.
local function repeated(_, args)
  local owner, key, fingerprint = args[1], args[2], args[3]
  local known = redis.call('HMGET', 'fleet:key:' .. owner .. ':' .. key, 'fingerprint', 'id')
  if not known[1] then return {'none'} end
  if known[1] ~= fingerprint then return {'mismatch'} end
  -- As in `submit`: the answer promises that the job is on the replica.
  redis.call('HSET', 'fleet:key:' .. owner .. ':' .. key, 'repeated', text(clock()))
  return {'known', known[2]}
end

-- The key with which fronts seal ids: the one that is offered, unless there is one.
local function sealing_key(_, args)
  redis.call('SET', 'fleet:sealing_key', args[1], 'NX')
  return {redis.call('GET', 'fleet:sealing_key')}
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
  else
    redis.call('SADD', 'fleet:stop:' .. j[3], id)
  end
  if not j[4] then changed(id, j[2]) end
  return j[1] == 'waiting' and {'ended'} or {'on', j[3]}
end

-- Protects a job from retention, or no longer does: {'ok'}, {'too-many', count} or {'absent'}.
local function pin(_, args)
  local id, pinned, most = args[1], args[2] == '1', tonumber(args[3])
  local j = fields(id, 'owner', 'pinned', 'state', 'ran', 'bytes')
  if not j[1] then return {'absent'} end
  if pinned == (j[2] and true or false) then return {'ok'} end
  local pins = 'fleet:pinned:' .. j[1]
  local count = redis.call('SCARD', pins)
  if pinned and count >= most then return {'too-many', count} end
  local kind = kind_of(j[4])
  if pinned then
    redis.call('HSET', 'fleet:job:' .. id, 'pinned', 1)
    redis.call('SADD', pins, id)
    redis.call('ZREM', 'fleet:unaged', id)
    redis.call('ZREM', 'fleet:old:' .. kind .. ' ' .. j[1], id)
  else
    redis.call('HDEL', 'fleet:job:' .. id, 'pinned')
    redis.call('SREM', pins, id)
  end
  if j[3] == 'ended' then
    count_held(j[1], kind, tonumber(j[5]), pinned and -1 or 1)
    count_held(j[1], 'pinned', tonumber(j[5]), pinned and 1 or -1)
    if not pinned then redis.call('ZADD', 'fleet:unaged', text(clock()), id) end
  end
  changed(id, j[1])
  return {'ok'}
end
