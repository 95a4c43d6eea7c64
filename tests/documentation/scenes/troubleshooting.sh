# A night at a shop: what became of its orders. docs/guides/troubleshooting.md asks about it.
set -e
B=http://127.0.0.1:8080/v1
export BROKER_TOKEN=$(broker token create alice --scope admin --data-dir broker-data)
valkey() { redis-cli -s broker-data/valkey.sock "$@"; }
api() { curl -sf -H "Authorization: Bearer $BROKER_TOKEN" "$@"; }
post() { api "$B/$1" --json "$2" > answer.json; }
take() { api "$B/http-consumers/$1/next?batch_size=$2&worker=$3" | grep -o '"ack_token":"[^"]*"' | cut -d'"' -f4; }
# The server refuses the token until it has heard that there is one.
until post streams '{"name": "orders", "kind": "events"}'; do sleep 0.05; done

# Orders of two hours ago, which a plain client added.
then=$(($(date +%s) * 1000 - 7260000))
for order in 4709 4710 4711 4712 4713; do
  id=$(valkey XADD 'broker:{orders}:log' "$((then + order))-0" collection_id shop:orders data "{\"order\": $order}")
  [ $order != 4711 ] || ID=$id
done

# As much is out as may be: mail-7 died with two orders, mail-8 is at work on the third. Nobody resumes `index`.
post http-consumers '{"name": "mail", "stream_id": "orders", "max_ack_pending": 3, "ack_wait_ms": 3600000}'
post http-consumers '{"name": "index", "stream_id": "orders"}'
post http-consumers '{"name": "returns", "stream_id": "orders", "filters": {"collection_id": "shop:returns"}}'
post http-consumers '{"name": "billing", "stream_id": "orders", "max_deliver": 5, "backoff_ms": [600000]}'
take mail 2 mail-7 > tokens.txt
take mail 1 mail-8 > tokens.txt

# The bank took one payment, did not answer to the next, and refused the third.
set -- $(take billing 3 billing-1)
post http-consumers/billing/ack "{\"ack_tokens\": [\"$1\"]}"
post http-consumers/billing/nack "{\"nacks\": [
  {\"ack_token\": \"$2\", \"reason\": \"no answer from the bank\"},
  {\"ack_token\": \"$3\", \"outcome\": \"reject\", \"reason\": \"card declined\"}]}"

tomorrow=$(python3 -c 'import datetime as d; print((d.datetime.now(d.UTC) + d.timedelta(1)).strftime("%FT08:00:00Z"))')
post streams/orders/messages "{\"messages\": [
  {\"collection_id\": \"shop:reminders\", \"id\": \"remind-4711\", \"deliver_at\": \"$tomorrow\", \"data\": {\"order\": 4711}}]}"
post http-consumers/index/pause '{}'
valkey CONFIG SET maxmemory 1mb > answer.json
set +e
