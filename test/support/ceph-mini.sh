#!/usr/bin/env bash
# A throw-away one-node Ceph with its S3 gateway, on loopback. Usage:
#   ceph-mini.sh start DIR S3PORT ACCESS SECRET BUCKET...
#   ceph-mini.sh stop  DIR
#   ceph-mini.sh health DIR
# Debian packages: ceph-mon ceph-osd radosgw ceph-common  (--no-install-recommends)
set -euo pipefail
cmd=$1; D=$2
export CEPH_CONF="$D/ceph.conf"
case $cmd in
start)
  PORT=$3; AK=$4; SK=$5; MONPORT=${MONPORT:-$((PORT+1))}; STORE=${STORE:-memstore}; SIZE=${SIZE:-4294967296}
  if (exec 3<>/dev/tcp/127.0.0.1/$PORT) 2>/dev/null; then echo "port $PORT is in use" >&2; exit 1; fi
  rm -rf "$D"; mkdir -p "$D"/{mon,osd,run,log,rgw,crash}
  FSID=$(cat /proc/sys/kernel/random/uuid); OSD_UUID=$(cat /proc/sys/kernel/random/uuid)
  cat > "$D/ceph.conf" <<C
[global]
fsid = $FSID
mon host = [v2:127.0.0.1:$MONPORT]
mon initial members = a
ms bind msgr1 = false
ms mon client mode = crc
ms client mode = crc
ms cluster mode = crc
ms service mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
ms bind ipv6 = false
public addr = 127.0.0.1
public network = 127.0.0.1/32
cluster network = 127.0.0.1/32
auth cluster required = none
auth service required = none
auth client required = none
run dir = $D/run
admin socket = $D/run/\$name.asok
pid file = $D/run/\$name.pid
log file = $D/log/\$name.log
crash dir = $D/crash
keyring = /dev/null
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
ms type = async+posix
log to stderr = false
err to stderr = true
debug ms = 0
[mon]
mon data = $D/mon
mon cluster log file = $D/log/cluster.log
mon data avail crit = 1
mon data avail warn = 1
paxos propose interval = 0.1
paxos min wait = 0.02
[osd]
osd data = $D/osd
osd objectstore = $STORE
memstore device bytes = $SIZE
bluestore block size = $SIZE
osd journal size = 100
osd class load list = *
osd class default list = *
[client]
rgw frontends = beast endpoint=127.0.0.1:$PORT
rgw data = $D/rgw
rgw crypt require ssl = false
rgw enable usage log = false
rgw dynamic resharding = false
rgw thread pool size = 64
rgw gc obj min wait = 5
rgw gc processor period = 5
rgw lc debug interval = ${LC_DEBUG_INTERVAL:--1}
C
  monmaptool --create --clobber --fsid "$FSID" --addv a "[v2:127.0.0.1:$MONPORT]" "$D/monmap" >/dev/null
  ceph-mon -i a --mkfs --monmap "$D/monmap"
  ceph-mon -i a                                   # daemonises itself
  ceph osd new "$OSD_UUID" 0 >/dev/null
  ceph-osd -i 0 --mkfs --osd-uuid "$OSD_UUID" >"$D/log/mkfs.out" 2>&1
  ceph-osd -i 0 >/dev/null 2>>"$D/log/osd.out"
  radosgw-admin user create --uid=test --display-name=test --access-key="$AK" --secret-key="$SK" >"$D/log/user.json" 2>"$D/log/user.err"
  radosgw -n client.rgw
  for i in $(seq 1 300); do
    code=$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$PORT/" || true)
    [ "$code" = 200 ] && break; sleep 0.1
  done
  [ "$code" = 200 ] || { echo "radosgw did not answer (last code $code); see $D/log" >&2; exit 1; }
  shift 5; for b in "$@"; do   # curl signs SigV4 itself; RGW also wants the payload hash header (sha256 of nothing)
    curl -sf -o /dev/null -H 'x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' --aws-sigv4 aws:amz:us-east-1:s3 -u "$AK:$SK" -X PUT "http://127.0.0.1:$PORT/$b"; done
  ;;
health)
  ceph -s; for f in "$D"/run/*.pid; do p=$(cat "$f"); echo "$(basename "$f") pid=$p rss_kb=$(awk '/VmRSS/{print $2}' /proc/$p/status)"; done ;;
stop)
  # data is thrown away, so SIGKILL is safe and takes 0.1 s (STOPSIG=TERM is the polite way)
  SIG=${STOPSIG:-KILL}
  for n in client.rgw osd.0 mon.a; do
    f="$D/run/$n.pid"; [ -s "$f" ] || continue; p=$(cat "$f")
    case "$(tr '\0' ' ' </proc/$p/cmdline 2>/dev/null || true)" in *ceph-mon*|*ceph-osd*|*radosgw*) kill -$SIG "$p" 2>/dev/null || true ;; *) continue ;; esac
    for i in $(seq 1 150); do st=$(cut -d' ' -f3 /proc/$p/stat 2>/dev/null || true); [ -z "$st" ] || [ "$st" = Z ] && break; sleep 0.05; done
  done
  rm -rf "$D" ;;
esac
