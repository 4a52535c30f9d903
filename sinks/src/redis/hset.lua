-- Writes a row as a hash, unless a newer change of it is there already.
-- KEYS: the row's key, the key of its version
-- ARGV: Seq, how long the version is kept, how long the row is kept (ms, 0: for ever), 1 if the row
--   is whole, the number of NULL columns, their names, then names and values in turn
local last = redis.call('GET', KEYS[2])
if last and tonumber(last) >= tonumber(ARGV[1]) then return 0 end
local nulls = tonumber(ARGV[5])
if ARGV[4] == '1' then
  redis.call('UNLINK', KEYS[1])
elseif nulls > 0 then
  redis.call('HDEL', KEYS[1], unpack(ARGV, 6, 5 + nulls))
end
if #ARGV > 5 + nulls then redis.call('HSET', KEYS[1], unpack(ARGV, 6 + nulls)) end
if ARGV[3] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
if ARGV[2] == '0' then
  redis.call('SET', KEYS[2], ARGV[1])
else
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
end
return 1
