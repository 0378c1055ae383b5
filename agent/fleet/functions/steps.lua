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
  redis.call('HSET', 'fleet:job:' .. id, 'state', 'given', 'ran', 1)
  return {'ok', redis.call('HEXISTS', 'fleet:job:' .. id, 'cancel')}
end

-- The host's agent does not have the job and will not: it waits again. With '1', not for this host.
local function release(_, args)
  local id, host, fence, elsewhere = args[1], args[2], args[3], args[4]
  if not mine(id, host, fence) then return {'stale'} end
  local j = fields(id, 'owner', 'cancel')
  give_back(id, j[1], host)
  if elsewhere == '1' then redis.call('SADD', 'fleet:not:' .. id, host) end
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
  redis.call('HSET', job, 'host_revision', text(a.revision), 'state', 'given', 'status', a.status, 'ran', 1)
  redis.call('SET', 'fleet:document:' .. a.id, a.document)
  if a.ended then
    give_back(a.id, j[2], a.host, a.half_life)
    finish(a.id, a.status, a.reason)
  end
  changed(a.id, j[2])
  return {'ok'}
end
