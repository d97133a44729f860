#!/usr/bin/env bash
# Real servers for the tests: installs what is missing, starts them on loopback, with folders and ports of their own, and makes them
# suffer. All that it brings lies below target/servers, but for Debian's packages.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
home=${CONVOKE_SERVERS:-$here/../target/servers}
mkdir -p "$home/run" && home=$(cd "$home" && pwd)
kinds="kafka nats redis rabbitmq postgres"
nats_version=v2.12.2
# So many proxies can stand before a server.
proxied=24

usage() {
    cat <<TEXT
tests/servers.sh install  [KIND...]   installs what is missing; all kinds, if none is named
tests/servers.sh start    [NAME...]   starts servers on the data they left, waits until they answer, and prints their URLs
tests/servers.sh stop     [NAME...]   ends them in order
tests/servers.sh kill     [NAME...]   ends them as a power failure does
tests/servers.sh restart  [NAME...]   kills and starts them
tests/servers.sh freeze   [NAME...]   lets them stand still, connections open; \`thaw\` lets them go on
tests/servers.sh status   [NAME...]   prints what runs
tests/servers.sh remove   [NAME...]   kills them and deletes their data
tests/servers.sh versions [KIND...]   prints the versions of what is installed
A KIND is one of: $kinds. A NAME is a kind, or a kind and a suffix, as in redis-2.
A broker that is started for the first time with the variable PASSWORD lets in the user \`ada\` alone, with that password; and with TLS=yes it
speaks nothing but TLS, with TLS=mutual to clients with a certificate alone. The certificates lie in its folder, below target/servers/run.
TEXT
}

fail() {
    echo "$*" >&2
    exit 1
}

# ---- install

missing() {
    case $1 in
    kafka) [ -d "$home/kafka" ] && command -v java >/dev/null || echo kafka ;;
    nats) nats_server >/dev/null || echo nats ;;
    redis) command -v redis-server >/dev/null || echo redis ;;
    rabbitmq) [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || echo rabbitmq ;;
    postgres) postgres_bin >/dev/null || echo postgres ;;
    python) "$home/python/bin/python" -c 'import confluent_kafka, pika, redis' 2>/dev/null || echo python ;;
    tls) command -v openssl >/dev/null && pkg-config --exists openssl 2>/dev/null || echo tls ;;
    *) fail "there is no server of the kind \`$1\`; there are: $kinds" ;;
    esac
}

nats_server() {
    [ -x "$home/bin/nats-server" ] && echo "$home/bin/nats-server" || command -v nats-server
}

postgres_bin() {
    local bin
    bin=$(compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -V | tail -n 1)
    [ -n "$bin" ] && dirname "$bin"
}

# Debian's packages. None of them may start a service here.
packages() {
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    local policy=/usr/sbin/policy-rc.d
    [ -e $policy ] || {
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee $policy >/dev/null
        "${sudo[@]}" chmod +x $policy
        # shellcheck disable=SC2064
        trap "${sudo[*]} rm -f $policy" EXIT
    }
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" >/dev/null
}

install_one() {
    echo "installing $1" >&2
    case $1 in
    kafka)
        command -v java >/dev/null && command -v mvn >/dev/null || packages openjdk-17-jre-headless maven
        mvn -q -B -f "$here/servers/kafka/pom.xml" dependency:copy-dependencies -DoutputDirectory="$home/kafka.part" >&2
        mv "$home/kafka.part" "$home/kafka"
        ;;
    nats)
        if command -v go >/dev/null; then
            GOBIN=$home/bin go install github.com/nats-io/nats-server/v2@$nats_version >&2
        else
            packages nats-server
        fi
        ;;
    redis) packages redis-server ;;
    rabbitmq) packages rabbitmq-server ;;
    postgres) packages postgresql ;;
    # For the servers' certificates, and for the client of Kafka that speaks TLS.
    tls) packages openssl libssl-dev pkg-config ;;
    python)
        python3 -c 'import ensurepip' 2>/dev/null || packages python3-venv
        python3 -m venv "$home/python"
        "$home/python/bin/pip" install -q -r "$here/servers/foreign/requirements.txt" >&2
        ;;
    esac
}

# One at a time, whoever else does so on this machine.
install() {
    (
        flock 8
        for kind in $(for kind in "$@" python; do missing "$kind"; done); do install_one "$kind"; done
    ) 8>"${TMPDIR:-/tmp}/convoke-servers-$UID.lock"
}

versions() {
    for kind in "$@"; do
        case $kind in
        kafka) echo "kafka $(basename "$home"/kafka/kafka_2.13-*.jar .jar | sed 's/.*-//')" ;;
        nats) echo "nats $("$(nats_server)" --version | sed 's/.*v//')" ;;
        redis) echo "redis $(redis-server --version | sed 's/.* v=\([^ ]*\).*/\1/')" ;;
        rabbitmq) echo "rabbitmq $(basename /usr/lib/rabbitmq/lib/rabbitmq_server-* | sed 's/.*-//')" ;;
        postgres) echo "postgres $("$(postgres_bin)/postgres" --version | sed 's/.* \([0-9.]*\) .*/\1/')" ;;
        esac
    done
}

# ---- one server: a folder below run/, which has its ports, its data, its log, and the process group that is alive

alive() {
    [ -s "$home/run/$1/pid" ] && kill -0 -- "-$(cat "$home/run/$1/pid")" 2>/dev/null
}

signal() {
    alive "$2" || return 0
    kill "-$1" -- "-$(cat "$home/run/$2/pid")"
}

listens() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A block of ports that nobody has. It stays claimed as long as somebody has descriptor 9 open: the server, or who holds it.
claim() {
    local folder=$home/run/$1 claims=${TMPDIR:-/tmp}/convoke-ports-$UID base
    mkdir -p "$claims"
    for _ in $(seq 100); do
        base=$((10000 + RANDOM % 350 * 64))
        [ -s "$folder/port" ] && base=$(cat "$folder/port")
        exec 9>"$claims/$base"
        if flock -n 9 && { [ -s "$folder/port" ] || free "$base"; }; then
            echo "$base" >"$folder/port"
            return
        fi
        [ ! -s "$folder/port" ] || fail "port $base is taken by another server"
    done
    fail "there are no free ports"
}

free() {
    local port
    for port in $(seq "$1" $(($1 + 63))); do ! listens "$port" || return 1; done
}

# What it takes to keep others out lies in the server's folder, so that it stays with the server.
secure() {
    local folder=$home/run/$1
    [ -z "${PASSWORD:-}" ] || echo "$PASSWORD" >"$folder/password"
    [ -z "${TLS:-}" ] || [ -d "$folder/tls" ] || certify "$folder" || fail "no certificates for $1; is openssl there? see $folder/log"
}

# An authority with a certificate for the server and one for a client; and another authority, which has signed none of them.
certify() {
    local tls=$1/tls.part new=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes) of
    mkdir -p "$tls"
    for of in ca stranger; do
        openssl req -x509 "${new[@]}" -keyout "$tls/$of.key" -out "$tls/$of.pem" -subj "/CN=tests of convoke: $of" -days 30 2>>"$1/log"
    done
    for of in server client; do
        openssl req "${new[@]}" -keyout "$tls/$of.key" -out "$tls/$of.csr" -subj "/CN=$of" 2>>"$1/log"
        openssl x509 -req -in "$tls/$of.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -out "$tls/$of.pem" -days 30 \
            -extfile <(echo "subjectAltName=IP:127.0.0.1,DNS:localhost") 2>>"$1/log"
    done
    openssl verify -CAfile "$tls/ca.pem" "$tls/server.pem" "$tls/client.pem" >>"$1/log" 2>&1 || return 1
    cat "$tls/server.key" "$tls/server.pem" >"$tls/both.pem"
    # The server may be another user.
    chmod a+r "$tls"/*
    echo "$TLS" >"$tls/mode"
    mv "$tls" "$1/tls"
}

tls() { [ -d "$home/run/$1/tls" ]; }

# Whether clients have to show certificates: one word or the other.
mutual() { if [ "$(cat "$home/run/$1/tls/mode")" = mutual ]; then echo "$2"; else echo "$3"; fi; }

password() { cat "$home/run/$1/password" 2>/dev/null; }

# As it stands in a URL.
encoded() {
    local i
    for ((i = 0; i < ${#1}; i++)); do
        case ${1:i:1} in [A-Za-z0-9._~-]) printf %s "${1:i:1}" ;; *) printf '%%%02X' "'${1:i:1}" ;; esac
    done
}

url() {
    local at user='' ca='' s=''
    at=127.0.0.1:$(cat "$home/run/$1/port")
    ! password "$1" >/dev/null || user=ada:$(encoded "$(password "$1")")@
    ! tls "$1" || ca=ca=$home/run/$1/tls/ca.pem s=s
    case $1 in
    kafka*) echo "kafka://$user$at${ca:+?tls=yes&$ca}" ;;
    nats*) echo "nats://$user$at${ca:+?tls=yes&$ca}" ;;
    redis*) echo "redis$s://$user$at${ca:+?$ca}" ;;
    rabbitmq*) echo "amqp$s://${user:-guest:guest@}$at${user:+/shop}${ca:+?$ca}" ;;
    postgres*) echo "postgres://postgres@$at/postgres" ;;
    esac
}

# Where the data of a server lies. A test kills processes, and memory outlives them; on a disk, a server that syncs what it is given
# stands still for seconds while compilers write beside it. What is started by hand is there after the machine was off.
data() {
    local room=0 memory
    case $1 in
    postgres*) ;;
    *) [ -z "${held:-}" ] || room=$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1) ;;
    esac
    if [ "${room:-0}" -lt $((4 << 20)) ]; then
        mkdir -p "$home/run/$1/data"
        return
    fi
    # Who owns it stands in its name: whoever was killed had no time to remove it.
    for memory in /dev/shm/convoke-"$UID"-*; do
        [[ $memory =~ -([0-9]+)-[^-]*$ ]] && ! kill -0 "${BASH_REMATCH[1]}" 2>/dev/null && rm -rf "$memory"
    done
    memory=$(mktemp -d "/dev/shm/convoke-$UID-$$-XXXXXX")
    ln -s "$memory" "$home/run/$1/data"
}

start() {
    local kind=${1%%-*} folder=$home/run/$1
    [ -z "$(missing "$kind")" ] || fail "$kind is not installed: run \`tests/servers.sh install $kind\`"
    if ! alive "$1"; then
        [ -n "${held:-}" ] || { secure "$1" && claim "$1"; }
        [ -e "$folder/data" ] || data "$1"
        "run_$kind" "$folder" "$(cat "$folder/port")"
    fi
    local pid
    pid=$(cat "$folder/pid")
    for _ in $(seq 600); do
        kill -0 "$pid" 2>/dev/null || break
        if answer_of "$1" "$(cat "$folder/port")"; then return; fi
        sleep 0.1
    done
    tail -n 20 "$folder/log" >&2
    signal KILL "$1"
    fail "$1 does not start; its log is $folder/log"
}

# In a process group of its own, so that what it starts ends with it.
launch() {
    local folder=$1
    shift
    setsid "$@" >>"$folder/log" 2>&1 </dev/null &
    echo $! >"$folder/pid"
    disown
}

run_redis() {
    local name=${1##*/} port=(--port "$2") secret
    : >"$1/redis.conf"
    if secret=$(password "$name"); then
        printf 'requirepass "%s"\nuser ada on ">%s" ~* &* +@all\n' "$secret" "$secret" >"$1/redis.conf"
    fi
    if tls "$name"; then
        port=(--port 0 --tls-port "$2" --tls-cert-file "$1/tls/server.pem" --tls-key-file "$1/tls/server.key")
        port+=(--tls-ca-cert-file "$1/tls/ca.pem" --tls-auth-clients "$(mutual "$name" yes no)")
    fi
    launch "$1" redis-server "$1/redis.conf" "${port[@]}" --bind 127.0.0.1 --dir "$1/data" --save "" --appendonly yes --appendfsync always
}

run_nats() {
    cat >"$1/nats.conf" <<CONF
listen: "127.0.0.1:$2"
jetstream { store_dir: "$1/data", sync_interval: always }
CONF
    local name=${1##*/} secret
    if secret=$(password "$name"); then
        echo "authorization { user: ada, password: \"$secret\" }" >>"$1/nats.conf"
    fi
    if tls "$name"; then
        echo "tls { cert_file: \"$1/tls/server.pem\", key_file: \"$1/tls/server.key\", ca_file: \"$1/tls/ca.pem\"," \
            "verify: $(mutual "$name" true false) }" >>"$1/nats.conf"
    fi
    launch "$1" "$(nats_server)" -c "$1/nats.conf"
}

run_rabbitmq() {
    # What is published is traced, for who has to read all of it. It costs nothing where nobody is bound to the trace.
    # A test that waits for an acknowledgement's time-out does not wait for half an hour.
    local name=${1##*/} port=$2 secured='' secret
    if secret=$(password "$name"); then
        secured=", {default_user, <<\"ada\">>}, {default_pass, <<\"$secret\">>}, {default_vhost, <<\"shop\">>}"
    fi
    if tls "$name"; then
        # It listens without TLS too, where nobody looks.
        port=$(($2 + 3))
        secured+=", {ssl_listeners, [{\"127.0.0.1\", $2}]}, {ssl_options, [{cacertfile, \"$1/tls/ca.pem\"}, {certfile, \"$1/tls/server.pem\"},"
        secured+=" {keyfile, \"$1/tls/server.key\"}, {verify, $(mutual "$name" verify_peer verify_none)},"
        secured+=" {fail_if_no_peer_cert, $(mutual "$name" true false)}]}"
    fi
    echo '[{rabbit, [{trace_vhosts, [<<"/">>]}, {consumer_timeout, '"${CONSUMER_TIMEOUT:-1800000}"'}, {channel_tick_interval, 1000}'"$secured"']}].' \
        >"$1/advanced.config"
    # The port mapper belongs to the group, lest it stay behind.
    # shellcheck disable=SC2016
    launch "$1" env HOME="$1" RABBITMQ_NODENAME=rabbit@localhost RABBITMQ_NODE_PORT="$port" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 \
        RABBITMQ_DIST_PORT=$(($2 + 1)) ERL_EPMD_PORT=$(($2 + 2)) ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_MNESIA_BASE="$1/data" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$1/advanced.config" RABBITMQ_LOG_BASE="$1" RABBITMQ_PID_FILE="$1/rabbit.pid" RABBITMQ_ENABLED_PLUGINS_FILE="$1/plugins" RABBITMQ_LOGS=- \
        bash -c 'epmd & until (exec 3<>/dev/tcp/127.0.0.1/$ERL_EPMD_PORT) 2>/dev/null; do sleep 0.02; done
            exec /usr/lib/rabbitmq/bin/rabbitmq-server'
}

run_kafka() {
    local name=${1##*/} protocol=PLAINTEXT secret jaas=()
    ! tls "$name" || protocol=SSL
    if secret=$(password "$name"); then
        [ $protocol = SSL ] && protocol=SASL_SSL || protocol=SASL_PLAINTEXT
        printf 'KafkaServer { org.apache.kafka.common.security.plain.PlainLoginModule required\nusername=ada password="%s" user_ada="%s"; };\n' \
            "$secret" "$secret" >"$1/jaas.conf"
        jaas=("-Djava.security.auth.login.config=$1/jaas.conf")
    fi
    # The names of the listeners are no more than names.
    local listeners="PLAINTEXT://127.0.0.1:$2" advertised="PLAINTEXT://127.0.0.1:$2" map="PLAINTEXT:$protocol,CONTROLLER:PLAINTEXT" place
    for place in $(places "$(basename "$1")"); do
        listeners+=",PROXIED${place#*:}://127.0.0.1:${place%:*}"
        advertised+=",PROXIED${place#*:}://127.0.0.1:${place#*:}"
        map+=",PROXIED${place#*:}:$protocol"
    done
    cat - "$here/servers/kafka/server.properties" >"$1/server.properties" <<CONF
listeners=$listeners,CONTROLLER://127.0.0.1:$(($2 + 1))
advertised.listeners=$advertised
listener.security.protocol.map=$map
controller.quorum.voters=1@127.0.0.1:$(($2 + 1))
log.dirs=$1/data
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
$(! tls "$name" || cat <<TLS
ssl.keystore.type=PEM
ssl.keystore.location=$1/tls/both.pem
ssl.truststore.type=PEM
ssl.truststore.location=$1/tls/ca.pem
ssl.client.auth=$(mutual "$name" required none)
TLS
)
CONF
    local log4j="-Dlog4j2.configurationFile=$here/servers/kafka/log4j2.properties"
    [ -e "$1/data/meta.properties" ] ||
        java "$log4j" -XX:TieredStopAtLevel=1 -cp "$home/kafka/*" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qg \
            -c "$1/server.properties" >>"$1/log" 2>&1
    launch "$1" java -Xms128m -Xmx512m -XX:+UseSerialGC "$log4j" "${jaas[@]}" -cp "$home/kafka/*" kafka.Kafka "$1/server.properties"
}

# It refuses to be root; and another user may not get to where this folder is.
run_postgres() {
    local bin data=$1/data as=()
    bin=$(postgres_bin)
    if [ "$(id -u)" = 0 ]; then
        as=(setpriv --reuid postgres --regid postgres --clear-groups)
        if [ ! -L "$data" ]; then
            rmdir "$data"
            ln -s "$(mktemp -d "${TMPDIR:-/tmp}/convoke-postgres-XXXXXX")" "$data"
            chown postgres: "$data/"
        fi
    fi
    [ -e "$data/PG_VERSION" ] ||
        (cd / && "${as[@]}" "$bin/initdb" -D "$data/" -U postgres -A trust -E UTF8 --locale C.UTF-8 >>"$1/log" 2>&1)
    launch "$1" "${as[@]}" "$bin/postgres" -D "$data/" -p "$2" -c listen_addresses=127.0.0.1 -c unix_socket_directories=
}

# Whether the server answers a request, each in the first words of its protocol. Behind TLS it is asked for a handshake.
answer_of() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$2" || exit 1
        local kind=${1%%-*} line secret
        secret=$(password "$1") || true
        ! tls "$1" || kind+=s
        case $kind in
        natss) read -r -t 1 line <&3 && [[ $line == INFO* ]] ;;
        rediss | kafkas | rabbitmqs) openssl s_client -connect "127.0.0.1:$2" </dev/null ;;
        redis) printf 'PING\r\n' >&3 && read -r -t 1 line <&3 && [[ ${line%%$'\r'} == @(+PONG|-NOAUTH*) ]] ;;
        nats)
            printf 'CONNECT {"verbose":false,"user":"ada","pass":"%s"}\r\nSUB ready 1\r\nPUB $JS.API.INFO ready 0\r\n\r\n' "$secret" >&3
            while read -r -t 1 line <&3; do [[ $line != *'"memory"'* ]] || exit 0; done
            exit 1
            ;;
        # Answered as soon as its listener takes requests, which it does when the node has joined.
        kafka) printf '\0\0\0\x0a\0\x12\0\0\0\0\0\1\xff\xff' >&3 && [ "$(timeout 1 head -c 8 <&3 | wc -c)" = 8 ] ;;
        postgres) "$(postgres_bin)/pg_isready" -q -h 127.0.0.1 -p "$2" ;;
        rabbitmq) printf 'AMQP\0\0\x09\1' >&3 && [ "$(timeout 1 head -c 8 <&3 | wc -c)" = 8 ] ;;
        esac
    ) >/dev/null 2>&1
}

gone() {
    for _ in $(seq "$2"); do
        alive "$1" || return 0
        sleep 0.02
    done
    return 1
}

kill_() {
    signal KILL "$1"
    gone "$1" 500 || fail "$1 cannot be killed"
}

stop() {
    signal CONT "$1"
    # The first of the group knows how to end the rest.
    ! alive "$1" || kill -TERM "$(cat "$home/run/$1/pid")" 2>/dev/null || true
    # What has not ended in ten seconds is stuck; what is left of the group serves nothing.
    for _ in $(seq 500); do
        kill -0 "$(cat "$home/run/$1/pid")" 2>/dev/null || break
        sleep 0.02
    done
    kill_ "$1"
}

restart() { kill_ "$1" && start "$1"; }

# A thread that is busy stops a little later than it is told to, and may answer before.
freeze() {
    signal STOP "$1"
    for _ in $(seq 500); do
        moves "$1" || return 0
        sleep 0.02
    done
    fail "$1 cannot be frozen"
}

moves() {
    { cat /proc/[0-9]*/task/*/stat 2>/dev/null || true; } | sed 's/.*) //' |
        awk -v group="$(cat "$home/run/$1/pid")" '$3 == group && $1 !~ /[TtZX]/ { moves = 1 } END { exit !moves }'
}

thaw() { signal CONT "$1"; }

remove() {
    kill_ "$1"
    rm -rf "$(readlink -f "${home:?}/run/$1/data")" "${home:?}/run/$1"
}

status() {
    local state=stopped
    ! alive "$1" || state=running
    ! grep -qs '^State:.T' "/proc/$(cat "$home/run/$1/pid" 2>/dev/null)/status" || state=frozen
    echo "$1 $state $(url "$1")"
}

# The ports that a proxy may lead to, and where it has to stand. A broker of Kafka tells its clients where it is: each of these listeners
# says that it is where its proxy stands.
places() {
    local port i
    port=$(cat "$home/run/$1/port")
    for ((i = 1; i <= proxied; i++)); do
        case $1 in
        kafka*) echo "$((port + 1 + i)):$((port + 1 + proxied + i))" ;;
        *) echo "$port:$((port + 1 + proxied + i))" ;;
        esac
    done
}

# Serves a program that owns the server: commands as lines, an answer for each, and the end of the input is the end of the server.
hold() {
    local held=1 command said
    mkdir -p "$home/run/$1"
    secure "$1"
    claim "$1"
    echo "$(url "$1") $(places "$1" | xargs)"
    while read -r command; do
        [ "$command" != kill ] || command=kill_
        if said=$("$command" "$1" 2>&1); then echo ok; else echo "${said//$'\n'/ | }"; fi
    done
    remove "$1"
}

command=${1:-}
shift || true
case $command in
install)
    # shellcheck disable=SC2086
    install ${*:-$kinds tls}
    ;;
versions)
    # shellcheck disable=SC2086
    versions ${*:-$kinds}
    ;;
hold) hold "$1" ;;
start)
    # shellcheck disable=SC2086
    for name in ${*:-$kinds}; do
        # shellcheck disable=SC2086
        install "${name%%-*}" ${TLS:+tls}
        (start "$name") && status "$name"
    done
    ;;
stop | kill | restart | freeze | thaw | status | remove)
    [ "$command" != kill ] || command=kill_
    for name in ${*:-$(ls "$home/run")}; do
        [ -d "$home/run/$name" ] || fail "there is no server \`$name\`: start it with \`tests/servers.sh start $name\`"
        ("$command" "$name")
    done
    ;;
*) usage >&2 && exit 2 ;;
esac
