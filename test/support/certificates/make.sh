#!/bin/sh
# Makes the certificates of the tests anew, with OpenSSL 3: sh test/support/certificates/make.sh
# They are valid until 2125, all but `expired`; the keys are for tests and known to everyone.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1.key"; }

authority() { # name
  key "$1"
  openssl req -x509 -new -key "$1.key" -subj "/CN=HookMQ tests $1" -days 36500 -out "$1.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}

signed() { # name, its authority, names it is for, end of validity
  key "$1"
  openssl req -new -key "$1.key" -subj "/CN=$1" -out "$work/csr"
  : > "$work/index"
  printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s/index\nserial=%s/serial\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=%s\n' \
    "$work" "$work" "$work" "$3" > "$work/config"
  openssl ca -batch -notext -config "$work/config" -extensions e -create_serial -cert "$2.pem" -keyfile "$2.key" \
    -startdate 20200101000000Z -enddate "$4" -in "$work/csr" -out "$1.pem" 2> "$work/log" || { cat "$work/log"; exit 1; }
}

authority authority
authority other-authority
signed server authority DNS:hooks.test,IP:127.0.0.1 21250101000000Z
signed expired authority DNS:hooks.test,IP:127.0.0.1 20210101000000Z
signed wrong-name authority DNS:other.test 21250101000000Z
signed other-server other-authority DNS:hooks.test,IP:127.0.0.1 21250101000000Z
signed client authority DNS:client.test 21250101000000Z
signed other-client other-authority DNS:client.test 21250101000000Z
openssl pkcs8 -topk8 -in client.key -passout pass:open-sesame -out client-locked.key
key self-signed
openssl req -x509 -new -key self-signed.key -subj /CN=self-signed -days 36500 -addext subjectAltName=DNS:hooks.test,IP:127.0.0.1 -out self-signed.pem
rm authority.key other-authority.key
