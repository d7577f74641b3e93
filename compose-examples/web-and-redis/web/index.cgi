#!/bin/sh
# A page that counts its visits. The counter is a redis server, found by its name.
answer=$(printf 'INCR visits\r\nQUIT\r\n' | nc -w 2 "${REDIS_HOST:-redis}" 6379 2>/dev/null | head -n 1 | tr -d '\r')
case $answer in
    :*) status="200 OK" page="Visit ${answer#:}, answered by $(hostname)." ;;
    *) status="503 Service Unavailable" page="The counter ${REDIS_HOST:-redis} does not answer." ;;
esac
printf 'Status: %s\r\nContent-Type: text/plain\r\n\r\n%s\n' "$status" "$page"
