-- Lists of jobs

-- Jobs, newest first: {cursor of the next page or '', id…}. `cursor` is of an earlier page, or ''. One call looks
-- at `MOST` jobs, so a page can have fewer than `limit`, and another one after it.
local function page(_, args)
  local owner, status, script, cursor, limit = args[1], args[2], args[3], args[4], tonumber(args[5])
  local from = cursor == '' and '+inf' or '(' .. cursor
  local found = redis.call('ZRANGE', owner == '' and 'fleet:jobs' or 'fleet:jobs:' .. owner, from, '-inf', 'BYSCORE', 'REV',
    'LIMIT', 0, MOST, 'WITHSCORES')
  local answer = {''}
  for at = 1, #found, 2 do
    if #answer > limit then return answer end
    local j = fields(found[at], 'status', 'script')
    if (status == '' or j[1] == status) and (script == '' or j[2] == script) then
      answer[#answer + 1] = found[at]
    end
    answer[1] = found[at + 1]
  end
  if #found < 2 * MOST then answer[1] = '' end
  return answer
end

-- The answers to several commands that only read, of one moment. In MULTI, a full Redis refuses these, too.
local function read(_, args)
  local answers = {}
  for _, command in ipairs(cjson.decode(args[1])) do answers[#answers + 1] = redis.call(unpack(command)) end
  return answers
end
