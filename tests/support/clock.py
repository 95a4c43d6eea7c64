"""Time that tests move: the scripts run behind a `redis.call` that adds an offset to Redis' clock.

TIME is later by the offset, and the idle times that XPENDING tells have grown by what the clock was moved since the
delivery. Nothing sleeps, and the scripts themselves are the ones that users run.
"""

from broker.scripts import Scripts, prelude
from broker.store import Store

OFFSET = "broker:test:offset"

_SHIFTED_CLOCK = """
local real = redis
local offset = tonumber(real.call('GET', 'broker:test:offset') or '0')
local function note(log, group, entries)
  for _, entry in ipairs(entries) do real.call('HSET', 'broker:test:at:' .. log .. ':' .. group, entry[1], offset) end
end
local function shifted(command, ...)
  local reply = real.call(command, ...)
  local a = { ... }
  if command == 'TIME' then
    reply[1] = reply[1] + math.floor(offset / 1000)
    reply[2] = reply[2] + (offset % 1000) * 1000
  elseif command == 'XPENDING' and #a > 2 then
    for _, row in ipairs(reply) do
      local at = tonumber(real.call('HGET', 'broker:test:at:' .. a[1] .. ':' .. a[2], row[1]) or '0')
      row[3] = row[3] + offset - at
    end
  elseif command == 'XGROUP' and string.find(a[2], ':gate:', 1, true) then
    -- The read that follows is not seen here: what lies ahead is noted now, and anew where a later read gives it.
    local log = string.gsub(a[2], ':gate:.*$', ':log')
    for _, group in ipairs(real.call('XINFO', 'GROUPS', log)) do
      local found = {}
      for i = 1, #group, 2 do found[group[i]] = group[i + 1] end
      if found.name == a[3] then note(log, a[3], real.call('XRANGE', log, '(' .. found['last-delivered-id'], '+')) end
    end
  elseif command == 'XREADGROUP' and reply then
    note(a[#a - 1], a[2], reply[1][2])
  elseif command == 'XCLAIM' then
    if type(reply[1]) == 'table' then note(a[1], a[2], reply) else
      for _, id in ipairs(reply) do note(a[1], a[2], { { id } }) end
    end
  end
  return reply
end
local redis = setmetatable({ call = shifted }, { __index = real })
"""


def shifted_scripts() -> Scripts:
    """The scripts behind the movable clock."""
    return Scripts(_SHIFTED_CLOCK + prelude())


async def advance(store: Store, ms: int) -> None:
    """Let time pass for the scripts."""
    await store.call("INCRBY", OFFSET, ms)
