-- Only a new job may be refused for the lack of memory: otherwise a full record would never drain.
local WRITES, READS = {'allow-oom'}, {'no-writes'}

local function register(name, callback, flags)
  redis.register_function{function_name = 'fleet1_' .. name, callback = callback, flags = flags}
end

register('submit', submit, {})
register('repeated', repeated, WRITES)
register('sealing_key', sealing_key, WRITES)
register('claim_next', claim_next, WRITES)
register('confirm', confirm, WRITES)
register('acknowledge', acknowledge, WRITES)
register('release', release, WRITES)
register('project', project, WRITES)
register('cancel', cancel, WRITES)
register('pin', pin, WRITES)
register('join', join, WRITES)
register('back', back, WRITES)
register('drain', drain, WRITES)
register('forget', forget, WRITES)
register('elect', elect, WRITES)
register('set_secret', set_secret, {})
register('remove_secret', remove_secret, WRITES)
register('secret_news', secret_news, WRITES)
register('wanted', wanted, WRITES)
register('share_key', share_key, WRITES)
register('tell_secrets', tell_secrets, WRITES)
register('age', age, WRITES)
register('remove_ended', remove_ended, WRITES)
register('oldest', oldest, READS)
register('page', page, READS)
register('read', read, READS)
register('places', places, READS)
