#!/bin/sh
# Asks one computer how it does; made up: it waits as a network does, and one of a hundred does not answer.
# usage: ask.sh HOST
number=$(echo "$1" | tr -dc 0-9 | sed 's/^0*//')
sleep "${ASK_SECONDS:-0.2}"
if [ "$number" = 42 ]; then
    echo "ssh: connect to host $1 port 22: no route to host" >&2
    exit 255
fi
echo "load,disk_free_gb,updates"
echo "0.$((number * 37 % 100)),$((number * 7919 % 500)),$((number * 31 % 9))"
