-- What a host does with its claims. A fence is of one claim; whoever shows an older one comes too late.

local function mine(id, host, fence)
  local j = fields(id, 'host', 'fence', 'state')
  return j[1] == host and j[2] == fence and j[3] ~= 'ended'
end

-- A job that its host has lost, or of a host that is gone: it is tried elsewhere if it asked for that, and otherwise
-- was interrupted.
-- One that is only claimed may have begun all the same: its member may have died after the agent took it.
local function lose(id, host, half_life)
  local j = fields(id, 'owner', 'attempt', 'max_attempts', 'again', 'cancel', 'host_attempt')
  local used = tonumber(j[2]) - 1 + tonumber(j[6] or 1)
  give_back(id, j[1], host, half_life)
  redis.call('SADD', 'fleet:not:' .. id, host)
  redis.call('HSET', 'fleet:job:' .. id, 'ran', 1)
  if j[5] then
    finish(id, 'CANCELLED', 'cancelled')
  elseif j[4] == '1' and used < tonumber(j[3]) then
    local job = 'fleet:job:' .. id
    redis.call('HSET', job, 'attempt', used + 1, 'status', 'PENDING', 'host_revision', 0, 'host_attempt', 1)
    enqueue(id, true)
  else
    finish(id, 'FAILED', 'interrupted')
  end
  changed(id, j[1])
end

-- Right before a job is given to the host's agent: {'ok'}, {'cancelled'}, {'given'} where it was given before, or
-- {'stale'}.
local function confirm(_, args)
  local id, host, epoch, fence = args[1], args[2], args[3], args[4]
  local h = redis.call('HMGET', 'fleet:host:' .. host, 'epoch', 'gone')
  if h[1] ~= epoch or h[2] or not mine(id, host, fence) then return {'stale'} end
  redis.call('HSET', 'fleet:host:' .. host, 'seen', text(clock()))
  local j = fields(id, 'cancel', 'owner', 'state')
  if j[3] == 'given' then return {'given'} end
  if not j[1] then return {'ok'} end
  give_back(id, j[2], host)
  finish(id, 'CANCELLED', 'cancelled')
  changed(id, j[2])
  return {'cancelled'}
end

-- The host's agent has the job: {'ok', 1 if its end was asked for meanwhile} or {'stale'}.
local function acknowledge(_, args)
  local id, host, fence = args[1], args[2], args[3]
  if not mine(id, host, fence) then return {'stale'} end
  redis.call('HSET', 'fleet:job:' .. id, 'state', 'given', 'ran', 1)
  return {'ok', redis.call('HEXISTS', 'fleet:job:' .. id, 'cancel')}
end

-- The host's agent does not have the job and will not: it waits again. With '1', not for this host for a while. A job
-- that the agent once had may have begun: the host has lost it.
local function release(_, args)
  local id, host, fence, elsewhere, half_life = args[1], args[2], args[3], args[4], tonumber(args[5])
  if not mine(id, host, fence) then return {'stale'} end
  local j = fields(id, 'owner', 'cancel', 'state')
  if j[3] == 'given' then
    lose(id, host, half_life)
    return {'ok'}
  end
  give_back(id, j[1], host)
  if elsewhere == '1' then redis.call('SET', refusal(id, host), 1, 'EX', AGAIN) end
  if j[2] then finish(id, 'CANCELLED', 'cancelled') else enqueue(id, true) end
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
  redis.call('HSET', job, 'host_revision', text(a.revision), 'state', 'given', 'status', a.status, 'ran', 1,
    'host_attempt', text(a.attempt))
  redis.call('SET', 'fleet:document:' .. a.id, a.document)
  if a.ended then
    give_back(a.id, j[2], a.host, a.half_life)
    finish(a.id, a.status, a.reason)
  end
  changed(a.id, j[2])
  return {'ok'}
end
