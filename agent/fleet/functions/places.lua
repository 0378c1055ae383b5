-- Places of waiting jobs

-- Which jobs of an owner, or with '' of all, come first, in order: {{id, position}…}, `limit` at most. The first
-- `MOST` positions are exact. Behind them, an owner's jobs count as if they were all alike.
local function in_order(a, lists, loads, now)
  local whole, found, position = fleet_capacity(), {}, 0
  while position < MOST and #found < a.limit do
    local list = first_of(lists, loads)
    if not list then return found end
    local j = fields(list.id, 'millicpus', 'memory')
    position = position + 1
    loads[list.owner] = loads[list.owner] + share_of(room_of(j[1], j[2]), whole) * LEAST
    if a.owner == '' or list.owner == a.owner then found[#found + 1] = {list.id, position} end
    advance(list, now)
  end
  return found, position, whole
end

-- How many jobs are before the one that is `rank` jobs behind the head of its list.
local function ahead_of(list, rank, lists, loads, cost)
  local count = 0
  for _, other in ipairs(lists) do
    local left = other.id and redis.call('ZCARD', other.key) - other.at + 1 or 0
    if other == list then
      count = count + rank
    elseif other.id and other.level > list.level then
      count = count + left
    elseif other.id and other.level == list.level then
      local turns = math.ceil((loads[list.owner] - loads[other.owner]) / cost) + rank
      count = count + math.max(0, math.min(left, turns))
    end
  end
  return count
end

-- The same for the jobs of one owner that are further behind.
local function behind(a, lists, loads, found, position, whole)
  local later = {}
  for _, list in ipairs(lists) do
    if list.id and list.owner == a.owner then
      local ids = redis.call('ZRANGE', list.key, list.at - 1, list.at - 2 + a.limit - #found)
      for rank, id in ipairs(ids) do
        local j = fields(id, 'millicpus', 'memory')
        local cost = math.max(1e-9, share_of(room_of(j[1], j[2]), whole) * LEAST)
        later[#later + 1] = {id, position + 1 + ahead_of(list, rank - 1, lists, loads, cost)}
      end
    end
  end
  table.sort(later, function(x, y)
    if x[2] ~= y[2] then return x[2] < y[2] end
    return x[1] < y[1]
  end)
  for _, each in ipairs(later) do
    if #found < a.limit then found[#found + 1] = each end
  end
end

-- By host: the first secret of the job that the host lacks. Jobs of one owner with the same secrets are alike.
local function lacking(owner, secrets, hosts, known)
  local key = owner .. ' ' .. secrets
  if not known[key] then
    known[key] = {}
    for _, host in ipairs(hosts) do known[key][host] = lacks(owner, cjson.decode(secrets), host) end
  end
  return known[key]
end

-- The hosts that do not get the job: for ever those that have lost it, for a while those that refused it.
local function without(id, hosts)
  local found = redis.call('SMEMBERS', 'fleet:not:' .. id)
  for _, host in ipairs(hosts) do
    if redis.call('EXISTS', refusal(id, host)) == 1 then found[#found + 1] = host end
  end
  return found
end

local function described(id, position, hosts, known)
  local j = fields(id, 'owner', 'need', 'millicpus', 'memory', 'digest', 'secrets')
  return {
    id = id, position = position, owner = j[1], need = j[2], room = room_of(j[3], j[4]), digest = j[5],
    lacking = lacking(j[1], j[6], hosts, known), refused = without(id, hosts),
    running = redis.call('HLEN', 'fleet:running:' .. j[1]),
  }
end

-- Jobs and their places, and what hosts have of the fleet's, as JSON: {{jobs, hosts, now}}.
local function places(_, args)
  local a, now = cjson.decode(args[1]), clock()
  a.needs = redis.call('HKEYS', 'fleet:pending')
  local lists, loads = waiting_for(a, {}, now)
  local found, position, whole = in_order(a, lists, loads, now)
  if position and a.owner ~= '' and #found < a.limit then behind(a, lists, loads, found, position, whole) end
  local names, jobs, hosts, known = redis.call('SMEMBERS', 'fleet:hosts'), {}, {}, {}
  for at, each in ipairs(found) do jobs[at] = described(each[1], each[2], names, known) end
  for _, name in ipairs(names) do
    local nothing = {jobs = 0, millicpus = 0, memory_bytes = 0}
    hosts[name] = plus(nothing, room_on({host = name, capacity = nothing, others = nothing}), -1)
  end
  return {cjson.encode({jobs = jobs, hosts = hosts, now = now})}
end
