-- leases: acks of whole batches, without a look at the row of each message.
--
-- A batch that `read` gives has a stamp of its own in its tokens, and the stamp lies here until some of the batch are
-- acked. While such batches and their acks are all that changes what the group's consumer `http` has out, the messages of
-- a stamp that lies here are all out, and for the first time: whatever is acked of them is live. How many `http` has out
-- lies here too. Where the group says another number, as after an XACK by a plain client, or where `next` may have given
-- something again, all leases end, and rows are looked at as for any other token.

-- Look whether there are leases, and whether they are good. `pending` is what XPENDING says of the group, if that was asked.
local function open_leases(s, c, pending)
  c.leases, c.ours = s.key .. ':leases:' .. c.name, 0
  local out = redis.call('HGET', c.leases, 'out')
  pending = pending or out and redis.call('XPENDING', s.log, c.name) or {}
  for _, reader in ipairs(pending[4] or {}) do
    if reader[1] == 'http' then c.ours = tonumber(reader[2]) end
  end
  c.leased = out and tonumber(out) == c.ours
  if out and not c.leased then redis.call('UNLINK', c.leases) end
end

-- Lease the first messages of `count` that are to be given: to shares of these sizes, one behind the other. Returns the
-- stamp of each share, the epoch for one that is too small, and the last stamp that was ever told. Stamps are times, so that
-- none is told twice where a failover has lost some.
local function lease(c, now, count, sizes)
  local stamps, fields, left, stamp = {}, {}, count, math.max(tonumber(c.stamp), now * 1000)
  for i, size in ipairs(sizes) do
    size = math.min(tonumber(size), left)
    left = left - size
    if size >= LEASED then
      stamp = stamp + 1
      stamps[i] = string.format('%.0f', stamp)
      fields[#fields + 1], fields[#fields + 2] = stamps[i], size
    else
      stamps[i] = c.epoch
    end
  end
  if fields[1] or c.leased then redis.call('HSET', c.leases, 'out', c.ours + count, unpack(fields)) end
  return stamps, fields[1] and string.format('%.0f', stamp) or c.stamp
end

-- Whether a stamp is leased. It no longer is, for some of its messages are acked now.
local function end_lease(c, stamp)
  return c.leased and redis.call('HDEL', c.leases, stamp) == 1
end

-- Keep how many are out behind acks. Of none there are no leases.
local function keep_leases(c)
  if not c.leased then return end
  if c.ours > 0 then redis.call('HSET', c.leases, 'out', c.ours) else redis.call('UNLINK', c.leases) end
end
