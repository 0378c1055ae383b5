-- Secrets of users. The record has them encrypted, and the key of each value sealed for each host.
--
--   fleet:secrets:OWNER       hash    by name: the newest version. `:as-of` is that of the newest change, `:by` who made
--                                     it, `:bytes` what the values have together
--   fleet:secret:OWNER NAME   hash    version, created, value, by; `key HOST`: which key of the host, and what is sealed
--   fleet:secret-owners       zset    owners, each with the number of the newest change
--   fleet:has:HOST            hash    by `OWNER/NAME`: the version that a host has
--   fleet:here:HOST           hash    by `OWNER/NAME`, or `/NAME` for everybody's: when what a host has was set on itself
--   fleet:wanted              set     `HOST OWNER NAME`: a host without a key, for which another one may seal it
--
-- A version begins with its time in microseconds: later ones are greater.

local function secret_changed(owner)
  redis.call('ZADD', 'fleet:secret-owners', redis.call('INCR', 'fleet:secrets-changed'), owner)
end

-- The first secret that the job gets and the host does not have in the newest version, or nil. Of `own` secrets, those
-- for everybody do not count.
local function lacks(owner, secrets, host)
  for name, kind in pairs(secrets) do
    local newest = redis.call('HGET', 'fleet:secrets:' .. owner, name)
    local has = redis.call('HGET', 'fleet:has:' .. host, owner .. '/' .. name)
    -- What the user has removed, and the host still has, would be mounted before what is for everybody.
    local fits = has == newest
    if not newest and not has then
      local here = 'fleet:here:' .. host
      fits = redis.call('HEXISTS', here, owner .. '/' .. name) == 1
        or kind ~= 'own' and redis.call('HEXISTS', here, '/' .. name) == 1
    end
    if not fits then return name end
  end
end

-- The newest change of the owner, if it is not before a version: whoever made that one must make another.
local function overtaken(owner, version)
  local newest = redis.call('HGET', 'fleet:secrets:' .. owner, ':as-of')
  return newest and newest >= version
end

-- {'ok', 1 if there was an earlier value, created}, {'overtaken'}, {'too-many', count} or {'too-large', bytes}.
local function set_secret(_, args)
  local a = cjson.decode(args[1])
  local secrets, secret = 'fleet:secrets:' .. a.user, 'fleet:secret:' .. a.user .. ' ' .. a.name
  if overtaken(a.user, a.version) then return {'overtaken'} end
  local earlier = redis.call('HMGET', secret, 'version', 'created', 'value')
  local count = 0
  for _, name in ipairs(redis.call('HKEYS', secrets)) do
    if name ~= a.name and string.sub(name, 1, 1) ~= ':' then count = count + 1 end
  end
  if not earlier[1] and count >= a.limit then return {'too-many', count} end
  local bytes = tonumber(redis.call('HGET', secrets, ':bytes') or 0) + #a.value - #(earlier[3] or '')
  if bytes > a.max_bytes then return {'too-large', bytes} end
  local created = earlier[2] or a.version
  redis.call('DEL', secret)
  redis.call('HSET', secret, 'version', a.version, 'created', created, 'value', a.value, 'by', a.by)
  for host, key in pairs(a.keys) do redis.call('HSET', secret, 'key ' .. host, key) end
  redis.call('HSET', secrets, a.name, a.version, ':as-of', a.version, ':by', a.by, ':bytes', text(bytes))
  secret_changed(a.user)
  return {'ok', earlier[1] and 1 or 0, created}
end

-- {'ok', version, created}, {'overtaken'} or {'absent'}.
local function remove_secret(_, args)
  local owner, name, version, by = args[1], args[2], args[3], args[4]
  local secrets, secret = 'fleet:secrets:' .. owner, 'fleet:secret:' .. owner .. ' ' .. name
  local known = redis.call('HMGET', secret, 'version', 'created', 'value')
  if not known[1] then return {'absent'} end
  if overtaken(owner, version) then return {'overtaken'} end
  redis.call('DEL', secret)
  redis.call('HDEL', secrets, name)
  redis.call('HSET', secrets, ':as-of', version, ':by', by)
  redis.call('HINCRBY', secrets, ':bytes', -#known[3])
  secret_changed(owner)
  return {'ok', known[1], known[2]}
end

-- The name of a host's key, which is how its public half begins; nil where the host has said none.
local function key_id_of(host)
  local report = redis.call('HGET', 'fleet:host:' .. host, 'report')
  local told, key = pcall(cjson.decode, report and cjson.decode(report).secrets_key or '')
  return told and type(key) == 'table' and type(key.public_key) == 'string' and string.sub(key.public_key, 1, 16)
end

-- Whether a secret has a key that is sealed for this key of the host.
local function has_key(secret, host, key_id)
  local key = redis.call('HGET', secret, 'key ' .. host)
  return key and string.sub(key, 1, 17) == key_id .. ' '
end

-- What has changed after a number, by owner: {number, time, {owner, as-of, by, name, version, …}, …}. What is not sealed
-- for the host's key becomes wanted.
local function secret_news(_, args)
  local host, after, most = args[1], args[2], tonumber(args[3])
  local key_id = key_id_of(host)
  local owners = redis.call('ZRANGE', 'fleet:secret-owners', '(' .. after, '+inf', 'BYSCORE', 'LIMIT', 0, most, 'WITHSCORES')
  local number = #owners == 2 * most and owners[#owners] or redis.call('GET', 'fleet:secrets-changed') or '0'
  local news = {number, text(clock())}
  for at = 1, #owners, 2 do
    local owner, found = owners[at], redis.call('HGETALL', 'fleet:secrets:' .. owners[at])
    local row = {owner, '', ''}
    for place = 1, #found, 2 do
      local name, value = found[place], found[place + 1]
      if name == ':as-of' then
        row[2] = value
      elseif name == ':by' then
        row[3] = value
      elseif name ~= ':bytes' then
        row[#row + 1] = name
        row[#row + 1] = value
        if key_id and not has_key('fleet:secret:' .. owner .. ' ' .. name, host, key_id) then
          redis.call('SADD', 'fleet:wanted', host .. ' ' .. owner .. ' ' .. name)
        end
      end
    end
    news[#news + 1] = row
  end
  return news
end

-- A secret for a host: {version, who set it, value, sealed key or ''}, or {}.
local function sealed_secret(_, args)
  local host, secret = args[1], 'fleet:secret:' .. args[2] .. ' ' .. args[3]
  local s, key_id = redis.call('HMGET', secret, 'version', 'by', 'value', 'key ' .. host), key_id_of(host)
  if not s[1] then return {} end
  return {s[1], s[2], s[3], key_id and has_key(secret, host, key_id) and string.sub(s[4], 18) or ''}
end

-- Keys that this host can open and another one wants: {host, its report, {owner, name, version, key}, …} or {}. Of at
-- most `most` wanted ones that are looked at, those of one host.
local function wanted(_, args)
  local host, most = args[1], args[2]
  local key_id, answer = key_id_of(host), {}
  if not key_id then return answer end
  for _, each in ipairs(redis.call('SRANDMEMBER', 'fleet:wanted', most)) do
    local to, owner, name = string.match(each, '^(%S+) (%S+) (%S+)$')
    local secret = 'fleet:secret:' .. owner .. ' ' .. name
    local h = redis.call('HMGET', 'fleet:host:' .. to, 'report', 'gone')
    if not h[1] or h[2] or redis.call('EXISTS', secret) == 0 then
      redis.call('SREM', 'fleet:wanted', each)
    elseif to ~= host and (not answer[1] or answer[1] == to) and has_key(secret, host, key_id) then
      local s = redis.call('HMGET', secret, 'version', 'key ' .. host)
      if not answer[1] then answer = {to, h[1]} end
      answer[#answer + 1] = {owner, name, s[1], string.sub(s[2], 18)}
    end
  end
  return answer
end

-- A host has sealed the key of a version for another one: {'ok'}, or {'stale'} for what is not wanted any more.
local function share_key(_, args)
  local to, key_id, owner, name, version, key = args[1], args[2], args[3], args[4], args[5], args[6]
  local secret = 'fleet:secret:' .. owner .. ' ' .. name
  if redis.call('HGET', secret, 'version') ~= version or key_id_of(to) ~= key_id then return {'stale'} end
  if redis.call('SREM', 'fleet:wanted', to .. ' ' .. owner .. ' ' .. name) == 0 then return {'stale'} end
  redis.call('HSET', secret, 'key ' .. to, key_id .. ' ' .. key)
  secret_changed(owner)
  return {'ok'}
end

-- What a host says that it has, and with '1' nothing else. The names are those of `fleet:has`; a
-- value is {version}, {false, times} for what was set on the host, or {} for what it no longer has.
local function tell_secrets(_, args)
  local host, all = args[1], args[2]
  local has, here = 'fleet:has:' .. host, 'fleet:here:' .. host
  if all == '1' then redis.call('DEL', has, here) end
  for name, value in pairs(cjson.decode(args[3])) do
    if value[1] then redis.call('HSET', has, name, value[1]) else redis.call('HDEL', has, name) end
    if value[2] then redis.call('HSET', here, name, value[2]) else redis.call('HDEL', here, name) end
  end
  redis.call('INCR', 'fleet:has-changed')
  return {'ok'}
end
