"""Movable clock for tests: wraps the scripts' `redis.call` to add an offset to Redis' clock.

TIME is later by the offset, and the idle times that XPENDING tells have grown by what the clock was moved since the
delivery. It may go back: Redis tells idle times of 0 then, never less. Where a test asks for it, the ids that Redis
makes follow this clock too. Nothing sleeps, and the scripts themselves are the ones that users run.
"""

import hashlib
from functools import lru_cache

from broker import keys
from broker.commands.functions import library
from broker.commands.scripts import MAX_ANSWER_BYTES, Script, Scripts, prelude
from broker.store.client import Store

OFFSET = "broker:test:offset"
# In a cluster a script may read keys of its own slot alone, so there each stream has an offset.
_OFFSET_KEYS = {False: f"'{OFFSET}'", True: f"'{OFFSET}:' .. tag"}

# A library of functions finds the whole `redis` only once it is loaded, and has no metatables while
# it is: so `redis` is looked up, and the offset read, at the call.
_SHIFTED_CLOCK = """
local function real() return redis end
local tag
local function moved() return tonumber(real().call('GET', OFFSET_KEY) or '0') end
local function note(log, group, entries)
  local offset = moved()
  for _, entry in ipairs(entries) do real().call('HSET', 'broker:test:at:' .. log .. ':' .. group, entry[1], offset) end
end
-- As Redis makes ids: by the clock, or the last one's next where that is ahead. The moved clock must be ahead of the real one.
local function append(a)
  local time, star = real().call('TIME'), a[2]
  a[2] = string.format('%.0f-*', time[1] * 1000 + math.floor(time[2] / 1000) + moved())
  local id = real().pcall('XADD', unpack(a))
  a[2] = star
  return type(id) == 'table' and real().call('XADD', unpack(a)) or id
end
local function shifted(command, ...)
  local a = { ... }
  if MOVE_IDS and command == 'XADD' and a[2] == '*' then return append(a) end
  local least = command == 'XPENDING' and a[3] == 'IDLE' and a[4]
  if least then a = { a[1], a[2], a[5], a[6], 1000000, unpack(a, 8) } end
  local reply = real().call(command, unpack(a))
  tag = string.match(tostring(a[1]), '{.-}') or tag
  if command == 'TIME' then
    local offset = moved()
    reply[1] = reply[1] + math.floor(offset / 1000)
    reply[2] = reply[2] + (offset % 1000) * 1000
  elseif command == 'XPENDING' and #a > 2 then
    local offset, ids, ats = moved(), {}, {}
    for i, row in ipairs(reply) do ids[i] = row[1] end
    for first = 1, #ids, 5000 do
      local some = { unpack(ids, first, math.min(first + 4999, #ids)) }
      for _, at in ipairs(real().call('HMGET', 'broker:test:at:' .. a[1] .. ':' .. a[2], unpack(some))) do ats[#ats + 1] = at end
    end
    for i, row in ipairs(reply) do row[3] = math.max(0, row[3] + offset - (tonumber(ats[i] or '0') or 0)) end
    if least then -- one row at a time is asked for
      for _, row in ipairs(reply) do
        if row[3] >= tonumber(least) then return { row } end
      end
      return {}
    end
  elseif command == 'XGROUP' and string.find(a[2], ':gate:', 1, true) then
    -- The following read is not seen here: note now what it will deliver, and again if a later read delivers it.
    local log = string.gsub(a[2], ':gate:.*$', ':log')
    for _, group in ipairs(real().call('XINFO', 'GROUPS', log)) do
      local found = {}
      for i = 1, #group, 2 do found[group[i]] = group[i + 1] end
      if found.name == a[3] then note(log, a[3], real().call('XRANGE', log, '(' .. found['last-delivered-id'], '+')) end
    end
  elseif command == 'XREADGROUP' and reply then
    note(a[#a - 1], a[2], reply[1][2])
  elseif command == 'XAUTOCLAIM' then
    note(a[1], a[2], reply[2])
  elseif command == 'XCLAIM' then
    if type(reply[1]) == 'table' then note(a[1], a[2], reply) else
      for _, id in ipairs(reply) do note(a[1], a[2], { { id } }) end
    end
  end
  return reply
end
local redis = {
  call = shifted,
  pcall = function(...) return real().pcall(...) end,
  error_reply = function(...) return real().error_reply(...) end,
  status_reply = function(...) return real().status_reply(...) end,
  register_function = function(...) return real().register_function(...) end,
}
"""


def _shifted_prelude(clustered: bool, move_ids: bool = False) -> str:
    return _SHIFTED_CLOCK.replace("OFFSET_KEY", _OFFSET_KEYS[clustered]).replace("MOVE_IDS", str(move_ids).lower()) + prelude()


@lru_cache(maxsize=16)
def shifted_scripts(clustered: bool = False, max_answer_bytes: int = MAX_ANSWER_BYTES, move_ids: bool = False, work: int = 300) -> Scripts:
    """The scripts with the movable clock and this much upkeep per step."""
    scripts = Scripts(_shifted_prelude(clustered, move_ids), max_answer_bytes)
    return scripts if work == 300 else _working(scripts, work)


def _working(scripts: Scripts, work: int) -> Scripts:
    for name, script in scripts._scripts.items():
        text = script.text.replace("WORK = 300", f"WORK = {work}")
        assert name != "next" or text != script.text
        scripts._scripts[name] = Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    return scripts


def shifted_library(clustered: bool = False) -> str:
    """The library of functions with the movable clock."""
    return library(_shifted_prelude(clustered))


async def advance(store: Store, ms: int, clustered: bool = False) -> None:
    """Let time pass for the scripts, or step back, in a cluster for the streams that exist."""
    names = await store.call("HKEYS", keys.STREAMS) if clustered else []
    for key in [f"{OFFSET}:{{{name.decode()}}}" for name in names] or [OFFSET]:
        await store.call("INCRBY", key, ms)
