#!/bin/sh
# Asks a server for the labels and phrases of pictures, over TensorFlow Serving's REST API.
#
#   sh curl_client.sh HOST:PORT IMAGE...        needs curl, base64 and jq 1.6 or later
set -eu

fail() {
    status=$1
    shift
    echo "$*" >&2
    exit "$status"
}

[ $# -ge 2 ] || fail 2 "usage: sh curl_client.sh HOST:PORT IMAGE..."
for tool in curl base64 jq awk; do
    command -v "$tool" >/dev/null || fail 2 "$tool is needed and not installed"
done
address=$1
shift
for image in "$@"; do
    [ -f "$image" ] && [ -r "$image" ] || fail 2 "$image cannot be read: no such file, or not permitted"
done

# Binary values are sent as base64. The body goes through a pipe, because pictures are too long for an argument.
body() {
    printf '{"signature_name": "serving_default", "instances": ['
    separator=
    for image in "$@"; do
        printf '%s{"image_bytes": {"b64": "' "$separator"
        base64 <"$image" | tr -d '\n'
        printf '"}}'
        separator=,
    done
    printf ']}'
}

answer=$(body "$@" | curl --silent --show-error --max-time 60 --header 'Content-Type: application/json' \
    --data-binary @- "http://$address/v1/models/default:predict") || fail 1 "$address does not answer"
refused=$(printf '%s' "$answer" | jq -r '.error // empty') || fail 1 "$address answers no JSON"
[ -z "$refused" ] || fail 1 "$address answers: $refused"

printf '%s' "$answer" | jq -r '
    [$ARGS.positional, .predictions] | transpose[] | .[0] as $path | .[1]
    | if .valid then [$path, .labels[0], .scores[0], ([.phrases[] | select(. != "")] | join(", "))]
      else [$path, "no picture"] end
    | join("\t")' --args "$@" |
    LC_ALL=C awk 'BEGIN { FS = OFS = "\t" } NF > 2 { $3 = sprintf("%.3f", $3) } 1'
