-- Part 4: settlement, slack, and processes that die, come back or must report again.

local KNOWN_ESTIMATED = 3
local totals = {}

local function add_total(name, a, sign)
  if not totals[name] then
    local found = redis.call('HGET', P .. 'totals:' .. PROC, name)
    totals[name] = found and unpack_(found) or ZERO
  end
  totals[name] = plus(totals[name], a, sign)
end

local function save_totals()
  for name, a in pairs(totals) do redis.call('HSET', P .. 'totals:' .. PROC, name, pack(a)) end
end

-- Take back the charges that were made when this process was taken for dead: all charges, or those of one entry.
local function uncharge(only)
  local key = P .. 'tombs:' .. PROC
  for _, id in ipairs(only and { only } or redis.call('HKEYS', key)) do
    local found = redis.call('HGET', key, id)
    for name, charge in pairs(found and unpack_(found) or {}) do
      local s = scope(name)
      if (s.ws or 0) == charge.ws then spend(s, charge.a, -1) end
      free({ P .. 'at:' .. name })
    end
    redis.call('HDEL', key, id)
  end
end

local function settle(id, used, known, names, unsent)
  local lease = get_lease(PROC, id)
  for _, name in ipairs(names) do add_total(name, used, 1) end
  if lease then
    for _, name in ipairs(lease.s) do
      local s = scope(name)
      hold(s, lease.a, -1)
      spend(s, used, 1, known)
    end
    rates_settle(lease, used, unsent)
    drop_lease(PROC, id)
    free(chain(lease.s))
    return
  end
  for _, name in ipairs(names) do spend(scope(name), used, 1, known) end
  uncharge(id)
  free(chain(names))
end

local function get_slack(proc, name)
  local found = redis.call('HGET', P .. 'slack:' .. proc, name)
  return found and unpack_(found) or ZERO
end

local function put_slack(proc, name, a)
  if a[1] <= 0 and a[3] <= 0 and a[4] <= 0 then
    redis.call('HDEL', P .. 'slack:' .. proc, name)
  else
    redis.call('HSET', P .. 'slack:' .. proc, name, pack(a))
  end
end

-- Give this process more slack, if there is room and no waiter, or take slack back. Return the change.
local function change_slack(name, delta)
  local s, held = scope(name), get_slack(PROC, name)
  local got = { 0, 0, 0, 0 }
  if delta[1] < 0 or delta[3] < 0 then
    got = delta
  elseif not s.stop and not lost and redis.call('EXISTS', P .. 'at:' .. name) == 0 then
    if s.lt and not lacks(s, { delta[1], 0, 0, 0 }, true) then got[1] = delta[1] end
    if s.lu and not lacks(s, { 0, 0, delta[3], delta[4] }, true) then got[3], got[4] = delta[3], delta[4] end
  end
  hold(s, got, 1)
  put_slack(PROC, name, plus(held, got, 1))
  if got[1] < 0 or got[3] < 0 then free({ P .. 'at:' .. name }) end
  return got
end

local function drop_slack()
  for _, name in ipairs(redis.call('HKEYS', P .. 'slack:' .. PROC)) do
    hold(scope(name), get_slack(PROC, name), -1)
    free({ P .. 'at:' .. name })
  end
  redis.call('DEL', P .. 'slack:' .. PROC)
end

-- Record that a lease has grown in its process, from the slack of this process. A limit without a maximum has no
-- slack.
local function grow(id, more)
  local lease = get_lease(PROC, id)
  if not lease then return end
  for _, name in ipairs(lease.s) do
    local s, held = scope(name), get_slack(PROC, name)
    local from = { math.min(held[1], more[1] + more[2]), 0, more[3], more[4] }
    if held[3] < more[3] or (held[3] == more[3] and held[4] < more[4]) then from[3], from[4] = held[3], held[4] end
    put_slack(PROC, name, plus(held, from, -1))
    hold(s, from, -1)
    hold(s, more, 1)
  end
  rates_grow(more)
  lease.a = plus(lease.a, more, 1)
  put_lease(PROC, id, lease)
end

-- End a process that is dead, or taken for dead: charge its sent leases in full, release the others.
local function reap(proc)
  local all = redis.call('HGETALL', lease_key(proc))
  local sent, tombs, charged = {}, {}, {}
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'sent:' .. proc)) do sent[id] = true end
  for i = 1, #all, 2 do
    local id, lease = all[i], unpack_(all[i + 1])
    leases[proc .. '|' .. id] = false
    local charges = {}
    for _, name in ipairs(lease.s) do
      local s = scope(name)
      hold(s, lease.a, -1)
      if sent[id] then
        spend(s, lease.a, 1, KNOWN_ESTIMATED)
        charges[name] = { a = lease.a, ws = s.ws or 0 }
        charged[name] = true
      end
    end
    rates_settle(lease, sent[id] and lease.a or ZERO, not sent[id])
    if sent[id] then
      tombs[#tombs + 1] = id
      tombs[#tombs + 1] = pack(charges)
    end
    free(chain(lease.s))
  end
  -- Leases may have grown from the slack before the server received this growth. So the slack of a limit is charged
  -- too, if a sent lease draws on the limit.
  local slack, slack_charges = redis.call('HGETALL', P .. 'slack:' .. proc), {}
  for i = 1, #slack, 2 do
    local name, a = slack[i], unpack_(slack[i + 1])
    local s = scope(name)
    hold(s, a, -1)
    if charged[name] then
      spend(s, a, 1, KNOWN_ESTIMATED)
      slack_charges[name] = { a = a, ws = s.ws or 0 }
    end
    free({ P .. 'at:' .. name })
  end
  tombs[#tombs + 1] = '*slack'
  tombs[#tombs + 1] = pack(slack_charges)
  for i = 1, #tombs, 200 do
    redis.call('HSET', P .. 'tombs:' .. proc, unpack(tombs, i, math.min(i + 199, #tombs)))
  end
  redis.call('PEXPIRE', P .. 'tombs:' .. proc, DAY)
  redis.call('PEXPIRE', P .. 'totals:' .. proc, MONTH)
  redis.call('DEL', lease_key(proc), P .. 'sent:' .. proc, P .. 'slack:' .. proc, P .. 'mail:' .. proc)
  redis.call('ZREM', P .. 'procs', proc)
  redis.call('HSET', P .. 'proc:' .. proc, 'reaped', NOW)
  redis.call('PEXPIRE', P .. 'proc:' .. proc, MONTH)
  end_waiters(function(waiter) return waiter.proc == proc end)
end

-- Register a process again that was taken for dead. The settlements of its leases will contain all that the leases
-- used, including slack.
local function rejoin()
  uncharge('*slack')
  redis.call('HDEL', P .. 'proc:' .. PROC, 'reaped')
  redis.call('PERSIST', P .. 'proc:' .. PROC)
  redis.call('PERSIST', P .. 'totals:' .. PROC)
end

-- The server lost writes of this process: take over its totals and its open leases.
local function adopt(all, open, seeded)
  for name, total in pairs(all) do
    local found = redis.call('HGET', P .. 'totals:' .. PROC, name)
    if not seeded then spend(scope(name), plus(total, found and unpack_(found) or ZERO, -1), 1, 0) end
    totals[name] = total
  end
  local old = redis.call('HGETALL', lease_key(PROC))
  for i = 1, #old, 2 do
    local lease = unpack_(old[i + 1])
    for _, name in ipairs(lease.s) do hold(scope(name), lease.a, -1) end
    rates_settle(lease, ZERO, true)
    drop_lease(PROC, old[i])
    free(chain(lease.s))
  end
  drop_slack()
  uncharge()
  redis.call('DEL', P .. 'sent:' .. PROC)
  for _, lease in ipairs(open) do
    local id, a, names, about, sent = unpack(lease)
    take(PROC, id, a, names, about)
    if sent == 1 then redis.call('SADD', P .. 'sent:' .. PROC, id) end
  end
end
