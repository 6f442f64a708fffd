// SPDX-License-Identifier: Apache-2.0
#include "io/pki.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <ctime>

#include "io/openssl_handles.h"

namespace weft::io {
namespace {

constexpr int x509_version_3 = 2;  // counted from 0
constexpr int least_security_bits = 112;

std::string text_of_bio(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, size_t(size)};
}

BioHandle bio_of(const std::string& text) {
  return BioHandle(BIO_new_mem_buf(text.data(), int(text.size())));
}

BioHandle memory() {
  BioHandle bio(BIO_new(BIO_s_mem()));
  WEFT_ASSERT(bio != nullptr);
  return bio;
}

std::string name_entry(const X509_NAME* name, int nid) {
  const int at = X509_NAME_get_index_by_NID(name, nid, -1);
  if (at < 0) return {};
  unsigned char* utf8 = nullptr;
  const int size =
      ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
  if (size < 0) return {};
  std::string text(reinterpret_cast<char*>(utf8), size_t(size));
  OPENSSL_free(utf8);
  return text;
}

bool add_name(X509_NAME* name, int nid, const std::string& text) {
  return X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(text.data()),
                                    int(text.size()), -1, 0) == 1;
}

bool add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  if (extension == nullptr) return false;
  const bool done = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return done;
}

bool set_time(ASN1_TIME* field, WallTime at) {
  return ASN1_TIME_set(field, time_t(at.milliseconds / 1000)) != nullptr;
}

WallTime shifted(WallTime at, Duration by) {
  return {at.milliseconds + std::chrono::duration_cast<std::chrono::milliseconds>(by).count()};
}

WallTime time_of(const ASN1_TIME* field) {
  std::tm parts{};
  if (ASN1_TIME_to_tm(field, &parts) != 1) return {};
  return {int64_t(timegm(&parts)) * 1000};
}

// Version, random serial number and validity: what every certificate of ours has.
bool prepare(X509* certificate, WallTime now, Duration lifetime) {
  Bytes serial = random_bytes(16);
  serial[0] = (serial[0] & 0x7f) | 0x40;  // positive, of full length
  BIGNUM* number = BN_bin2bn(serial.data(), int(serial.size()), nullptr);
  const bool numbered = number != nullptr &&
                        BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  return numbered && X509_set_version(certificate, x509_version_3) == 1 &&
         set_time(X509_getm_notBefore(certificate), shifted(now, -clock_skew_allowance)) &&
         set_time(X509_getm_notAfter(certificate), shifted(now, lifetime));
}

Result<std::string> certificate_pem(X509* certificate) {
  const BioHandle bio = memory();
  if (PEM_write_bio_X509(bio.get(), certificate) != 1)
    return openssl_error("cannot write the certificate");
  return text_of_bio(bio.get());
}

Result<RequestHandle> request_from_pem(const std::string& pem) {
  const BioHandle bio = bio_of(pem);
  RequestHandle request(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (!request) return Error(ErrorCode::invalid, "not a PEM certificate signing request");
  EVP_PKEY* key = X509_REQ_get0_pubkey(request.get());
  const bool proven = key != nullptr && X509_REQ_verify(request.get(), key) == 1;
  ERR_clear_error();
  if (!proven)
    return Error(ErrorCode::invalid, "the certificate signing request is not signed by its key");
  if (EVP_PKEY_get_security_bits(key) < least_security_bits)
    return Error(ErrorCode::invalid, "the key of the certificate signing request is too weak");
  return request;
}

}  // namespace

Error openssl_error(std::string_view context) {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = code != 0 ? ERR_reason_error_string(code) : nullptr;
  ERR_clear_error();
  return Error(std::string(context) + ": " + (reason != nullptr ? reason : "OpenSSL failed"));
}

Result<CertificateHandle> certificate_from_pem(const std::string& pem) {
  const BioHandle bio = bio_of(pem);
  CertificateHandle certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (!certificate) return Error(ErrorCode::invalid, "not a PEM certificate");
  return certificate;
}

Result<KeyHandle> key_from_pem(const std::string& pem) {
  const BioHandle bio = bio_of(pem);
  // A pass phrase is never asked for: weftd has no terminal.
  char no_phrase[] = "";
  KeyHandle key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, no_phrase));
  ERR_clear_error();
  if (!key) return Error(ErrorCode::invalid, "not a PEM private key");
  return key;
}

std::string cluster_of(X509* certificate) {
  return name_entry(X509_get_subject_name(certificate), NID_organizationName);
}

Result<NodeIdentity> identity_of(X509* certificate) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  NodeIdentity identity{
      .node_id = name_entry(subject, NID_commonName),
      .role = name_entry(subject, NID_organizationalUnitName),
      .cluster_id = name_entry(subject, NID_organizationName),
      .not_before = time_of(X509_get0_notBefore(certificate)),
      .not_after = time_of(X509_get0_notAfter(certificate)),
  };
  if (identity.node_id.empty() || identity.cluster_id.empty() ||
      (identity.role != "worker" && identity.role != "manager"))
    return Error(ErrorCode::invalid, "not a certificate of a Weft node");
  return identity;
}

Digest digest_of(X509* certificate) {
  Digest digest{};
  unsigned size = digest.size();
  const int done = X509_digest(certificate, EVP_sha256(), digest.data(), &size);
  WEFT_ASSERT(done == 1 && size == digest.size());
  return digest;
}

Result<std::string> create_key() {
  const KeyHandle key(EVP_EC_gen("P-256"));
  const BioHandle bio = memory();
  if (!key || PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr,
                                            nullptr) != 1)
    return openssl_error("cannot create a key");
  return text_of_bio(bio.get());
}

Result<CertifiedKey> create_cluster_ca(const std::string& cluster_id, WallTime now) {
  CertifiedKey ca{.key_pem = TRY(create_key())};
  const KeyHandle key = TRY(key_from_pem(ca.key_pem));
  const CertificateHandle certificate(X509_new());
  X509* x = certificate.get();
  X509_NAME* subject = X509_get_subject_name(x);
  const bool done = prepare(x, now, ca_lifetime) && add_name(subject, NID_commonName, "weft-ca") &&
                    add_name(subject, NID_organizationName, cluster_id) &&
                    X509_set_issuer_name(x, subject) == 1 && X509_set_pubkey(x, key.get()) == 1 &&
                    add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                    add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
                    add_extension(x, x, NID_subject_key_identifier, "hash") &&
                    X509_sign(x, key.get(), EVP_sha256()) > 0;
  if (!done) return openssl_error("cannot create the cluster's CA");
  ca.certificate_pem = TRY(certificate_pem(x));
  return ca;
}

Result<std::string> create_signing_request(const std::string& key_pem) {
  const KeyHandle key = TRY(key_from_pem(key_pem));
  const RequestHandle request(X509_REQ_new());
  const BioHandle bio = memory();
  const bool done =
      X509_REQ_set_version(request.get(), 0) == 1 &&
      add_name(X509_REQ_get_subject_name(request.get()), NID_commonName, "weft-node") &&
      X509_REQ_set_pubkey(request.get(), key.get()) == 1 &&
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) > 0 &&
      PEM_write_bio_X509_REQ(bio.get(), request.get()) == 1;
  if (!done) return openssl_error("cannot create a certificate signing request");
  return text_of_bio(bio.get());
}

Result<std::string> sign_node_certificate(const CertifiedKey& ca, const std::string& request_pem,
                                          const NodeIdentity& identity, WallTime now,
                                          Duration lifetime) {
  const RequestHandle request = TRY(request_from_pem(request_pem));
  const CertificateHandle issuer = TRY_IN("CA", certificate_from_pem(ca.certificate_pem));
  const KeyHandle issuer_key = TRY_IN("CA", key_from_pem(ca.key_pem));
  const CertificateHandle certificate(X509_new());
  X509* x = certificate.get();
  X509_NAME* subject = X509_get_subject_name(x);
  const char* names =
      identity.role == "manager" ? "DNS:weft-manager,DNS:weft-node" : "DNS:weft-node";
  const bool done = prepare(x, now, lifetime) &&
                    add_name(subject, NID_commonName, identity.node_id) &&
                    add_name(subject, NID_organizationalUnitName, identity.role) &&
                    add_name(subject, NID_organizationName, identity.cluster_id) &&
                    X509_set_issuer_name(x, X509_get_subject_name(issuer.get())) == 1 &&
                    X509_set_pubkey(x, X509_REQ_get0_pubkey(request.get())) == 1 &&
                    add_extension(x, issuer.get(), NID_basic_constraints, "critical,CA:FALSE") &&
                    add_extension(x, issuer.get(), NID_key_usage, "critical,digitalSignature") &&
                    add_extension(x, issuer.get(), NID_ext_key_usage, "serverAuth,clientAuth") &&
                    add_extension(x, issuer.get(), NID_subject_key_identifier, "hash") &&
                    add_extension(x, issuer.get(), NID_authority_key_identifier, "keyid") &&
                    add_extension(x, issuer.get(), NID_subject_alt_name, names) &&
                    X509_sign(x, issuer_key.get(), EVP_sha256()) > 0;
  if (!done) return openssl_error("cannot sign the node's certificate");
  TRY(identity_of(x));  // never hand out what would be refused
  return certificate_pem(x);
}

Result<NodeIdentity> parse_certificate(const std::string& certificate_pem) {
  const CertificateHandle certificate = TRY(certificate_from_pem(certificate_pem));
  return identity_of(certificate.get());
}

Result<> verify_certificate(const std::string& certificate_pem, const std::string& ca_pem,
                            WallTime now) {
  const CertificateHandle certificate = TRY(certificate_from_pem(certificate_pem));
  const CertificateHandle ca = TRY_IN("CA", certificate_from_pem(ca_pem));
  const StoreHandle store(X509_STORE_new());
  const StoreContextHandle context(X509_STORE_CTX_new());
  if (X509_STORE_add_cert(store.get(), ca.get()) != 1 ||
      X509_STORE_CTX_init(context.get(), store.get(), certificate.get(), nullptr) != 1)
    return openssl_error("cannot verify a certificate");
  X509_STORE_CTX_set_time(context.get(), 0, time_t(now.milliseconds / 1000));
  if (X509_verify_cert(context.get()) != 1)
    return Error(ErrorCode::denied,
                 X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())));
  const NodeIdentity identity = TRY(identity_of(certificate.get()));
  if (identity.cluster_id != cluster_of(ca.get()))
    return Error(ErrorCode::denied, "the certificate is of another cluster");
  return Ok;
}

Result<Digest> certificate_digest(const std::string& certificate_pem) {
  const CertificateHandle certificate = TRY(certificate_from_pem(certificate_pem));
  return digest_of(certificate.get());
}

bool equal_secrets(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Bytes random_bytes(size_t count) {
  Bytes bytes(count);
  const bool drawn = RAND_bytes(bytes.data(), int(count)) == 1;
  WEFT_ASSERT(drawn);
  return bytes;
}

}  // namespace weft::io
