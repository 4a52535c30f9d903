-- Writes and deletes rows, each unless a newer change of it is there already.
-- KEYS: of each row its key and the key of its version
-- ARGV: how long a row is kept, its version, the version of a deleted row (ms, 0: for ever), then of
--   each row its Seq and the row, which is empty if it is deleted
local versions = {}
for at = 2, #KEYS, 2 do versions[at / 2] = KEYS[at] end
local last = redis.call('MGET', unpack(versions))
local values, answer = {}, {}
for at, version in ipairs(versions) do
  local key, seq, row = KEYS[2 * at - 1], ARGV[2 * at + 2], ARGV[2 * at + 3]
  if last[at] and tonumber(last[at]) >= tonumber(seq) then
    answer[at] = 0
  else
    answer[at] = 1
    if row == '' then
      redis.call('UNLINK', key)
      redis.call('SET', version, seq, 'PX', ARGV[3])
    elseif ARGV[1] ~= '0' then
      redis.call('SET', key, row, 'PX', ARGV[1])
      redis.call('SET', version, seq, 'PX', ARGV[2])
    else
      local n = #values
      values[n + 1], values[n + 2], values[n + 3], values[n + 4] = key, row, version, seq
    end
  end
end
if #values > 0 then redis.call('MSET', unpack(values)) end
return answer
