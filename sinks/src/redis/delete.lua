-- Deletes a row, unless a newer change of it is there already.
-- KEYS: the row's key, the key of its version
-- ARGV: Seq, how long the version is kept (ms)
local last = redis.call('GET', KEYS[2])
if last and tonumber(last) >= tonumber(ARGV[1]) then return 0 end
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return 1
