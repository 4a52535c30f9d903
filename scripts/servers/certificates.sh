# Sourced by servers.sh: certificates of servers that speak TLS.
# shellcheck shell=bash

# certificates FOLDER NAME: ca.pem signed NAME.crt, whose key is NAME.key, for this machine only;
# other-ca.pem has nothing to do with it.
certificates() {
  local folder=$1 name=$2 key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes) ca
  [ -e "$folder/$name.crt" ] && return
  for ca in ca other-ca; do
    openssl req -x509 "${key[@]}" -days 3650 -subj "/CN=dbevent test $ca" \
      -keyout "$folder/$ca.key" -out "$folder/$ca.pem"
  done
  openssl req "${key[@]}" -subj /CN=localhost -keyout "$folder/$name.key" -out "$folder/$name.csr"
  openssl x509 -req -days 3650 -in "$folder/$name.csr" -out "$folder/$name.crt.new" \
    -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial \
    -extfile <(echo subjectAltName=IP:127.0.0.1,DNS:localhost)
  mv "$folder/$name.crt.new" "$folder/$name.crt"
}
