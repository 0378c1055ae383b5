#!lua name=fleet1
-- The fleet's record. Each function is one step of a job or of a host, and atomic: nobody sees half of it.
--
-- The names of the library and of its functions have the version of this file. A front loads its own version
-- beside the others, so fronts of two versions work on one record. The files of this directory are one library:
-- `record.py` puts them together.
--
--   fleet:job:ID                    hash    a job; see `submit` and `take` for its fields. All are short: then
--                                           Redis keeps them in a third of the memory
--   fleet:document:ID, …:request:ID string  the job as clients see it, and what its host is given, in JSON
--   fleet:prefixes                  hash    the first eight characters of each id, and the id
--   fleet:key:OWNER:KEY             hash    an idempotency key: fingerprint and id
--   fleet:jobs, fleet:jobs:OWNER    zset    ids in the order of acceptance
--   fleet:active, …:OWNER           zset    ids that have not ended, each with the number of its newest change
--   fleet:ended, …:OWNER            zset    the same of those that have
--   fleet:removed, …:OWNER          zset    the same of those whose record retention has removed
--   fleet:forgotten                 string  up to this change, removed jobs are not known any more
--   fleet:epoch                     string  names this record among others
--   fleet:wait:NEED PRIORITY OWNER  zset    ids that wait, in the order of acceptance
--   fleet:lists:NEED                set     the names of those lists that are not empty
--   fleet:pending, fleet:waits      hash    how many jobs wait, by need and by owner
--   fleet:uses                      hash    by owner: seconds of the whole fleet, and their time
--   fleet:running:OWNER             hash    by id: since when, share of the fleet, longest time
--   fleet:host:NAME, fleet:hosts    hash, set
--   fleet:on:NAME                   set     the ids that a host has
--   fleet:kept-of:OWNER             string  a job of the owner for which room is reserved
--   fleet:kept:ID                   string  the host on which room is reserved for a waiting job
--   fleet:stop:NAME                 set     those of them whose end was asked for
--   fleet:not:ID                    set     hosts that do not get a job any more
--   fleet:refused:ID HOST           string  there for as long as a host does not get a job that it refused
--   fleet:skip:NAME                 hash    by list: up to which job the host can run none, for `fleet:sight:NAME`
--   fleet:pinned:OWNER              set     pinned jobs
--   fleet:unaged                    zset    ended jobs whose age has not begun to count, in the order of their ends
--   fleet:old:KIND OWNER            zset    ended jobs that are not pinned, with the time when their age began
--   fleet:held                      hash    by `AMOUNT KIND OWNER`: how many these are, and their bytes
--   fleet:tombstones                hash    by id of a removed job: its owner
--   fleet:age_clock                 string  the clock of ages of retention, in JSON
--   fleet:sealing_key               string  seals the ids that clients get from fronts
--   fleet:elected:TASK              string  the front that does what only one does at a time
--
-- Times are seconds since 1970 by the clock of Redis, the only one that all hosts share. A room is places,
-- CPUs in thousandths, and bytes of memory. The rules of turns are those of agent/scheduling/policy.py.

local LEAST = 10     -- seconds that a job counts for at least
local AGEING = 3600  -- seconds after which a lowered priority rises one step
local MOST = 500     -- jobs that one call looks at: some milliseconds
local AGAIN = 300   -- seconds after which a host is given a job once more that it refused: it may have changed
local KEPT = 60      -- seconds that a reservation outlives the last claim of its host
local OVERHEAD = 1000  -- bytes of the record of an ended job besides its document and its request

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1e6
end

-- `..` would cut a number to 14 digits.
local function text(number) return string.format('%.17g', number) end

local function fields(id, ...) return redis.call('HMGET', 'fleet:job:' .. id, ...) end

-- The number of a change that everybody hears of who follows.
local function next_change()
  local number = redis.call('INCR', 'fleet:changed')
  redis.call('PUBLISH', 'fleet:changed', number)
  return number
end

-- A new revision of a job.
local function changed(id, owner)
  local number = next_change()
  redis.call('HINCRBY', 'fleet:job:' .. id, 'revision', 1)
  local state = fields(id, 'state')[1] == 'ended' and 'ended' or 'active'
  redis.call('ZADD', 'fleet:' .. state, number, id)
  redis.call('ZADD', 'fleet:' .. state .. ':' .. owner, number, id)
end

local function refusal(id, host) return 'fleet:refused:' .. id .. ' ' .. host end

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
  return {jobs = tonumber(sum[1] or 0), millicpus = tonumber(sum[2] or 0), memory_bytes = tonumber(sum[3] or 0)}
end

-- The largest of the shares of each resource of the whole fleet.
local function share_of(room, whole)
  if whole.jobs == 0 then return 0 end  -- no host has joined
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
  redis.call('SREM', 'fleet:stop:' .. host, id)
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

-- `again`: it waits once more, and what hosts have skipped may be theirs now.
local function enqueue(id, again)
  local j = fields(id, 'need', 'priority', 'owner', 'accepted')
  local list, fence = j[1] .. ' ' .. j[2] .. ' ' .. j[3], redis.call('INCR', 'fleet:fence')
  redis.call('HSET', 'fleet:job:' .. id, 'state', 'waiting', 'host', '', 'fence', fence)
  redis.call('ZADD', 'fleet:wait:' .. list, j[4], id)
  redis.call('SADD', 'fleet:lists:' .. j[1], list)
  redis.call('HINCRBY', 'fleet:pending', j[1], 1)
  redis.call('HINCRBY', 'fleet:waits', j[3], 1)
  if again then redis.call('INCR', 'fleet:requeued') end
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

-- What an ended job counts for in retention: with `sign` 1 it is added, with -1 it is gone.
local function count_held(owner, kind, bytes, sign)
  for amount, number in pairs({jobs = 1, record_bytes = bytes}) do
    local name = amount .. ' ' .. kind .. ' ' .. owner
    if redis.call('HINCRBY', 'fleet:held', name, sign * number) == 0 then redis.call('HDEL', 'fleet:held', name) end
  end
end

-- Ended jobs that are not pinned: those that ran, and those that never did, which go first.
local function kind_of(ran) return ran and 'ran' or 'never-ran' end

-- Writes the end of a job, once. What was only for its way is gone.
local function finish(id, status, reason)
  local j = fields(id, 'owner', 'ran', 'pinned')
  local bytes = OVERHEAD + redis.call('STRLEN', 'fleet:document:' .. id)
    + redis.call('STRLEN', 'fleet:request:' .. id)
  redis.call('HSET', 'fleet:job:' .. id, 'state', 'ended', 'status', status, 'reason', reason,
    'finished', text(clock()), 'bytes', bytes)
  redis.call('DEL', 'fleet:not:' .. id, 'fleet:kept:' .. id)
  redis.call('ZREM', 'fleet:active', id)
  redis.call('ZREM', 'fleet:active:' .. j[1], id)
  count_held(j[1], j[3] and 'pinned' or kind_of(j[2]), bytes, 1)
  redis.call('ZADD', 'fleet:unaged', text(clock()), id)
end
