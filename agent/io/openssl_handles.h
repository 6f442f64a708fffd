// SPDX-License-Identifier: Apache-2.0
// For .cpp files that speak OpenSSL; not for other headers.
#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <optional>
#include <string>

#include "base/free_with.h"
#include "base/result.h"
#include "io/pki.h"

namespace weft::io {

using BioHandle = std::unique_ptr<BIO, FreeWith<BIO_free_all>>;
using KeyHandle = std::unique_ptr<EVP_PKEY, FreeWith<EVP_PKEY_free>>;
using CertificateHandle = std::unique_ptr<X509, FreeWith<X509_free>>;
using RequestHandle = std::unique_ptr<X509_REQ, FreeWith<X509_REQ_free>>;
using StoreHandle = std::unique_ptr<X509_STORE, FreeWith<X509_STORE_free>>;
using StoreContextHandle = std::unique_ptr<X509_STORE_CTX, FreeWith<X509_STORE_CTX_free>>;
using SslContextHandle = std::unique_ptr<SSL_CTX, FreeWith<SSL_CTX_free>>;
using SslHandle = std::unique_ptr<SSL, FreeWith<SSL_free>>;

// "context: reason" from OpenSSL's error queue, which is emptied.
Error openssl_error(std::string_view context);

Result<CertificateHandle> certificate_from_pem(const std::string& pem);
Result<KeyHandle> key_from_pem(const std::string& pem);
Result<NodeIdentity> identity_of(X509* certificate);
// The organization: the cluster's id in our certificates.
std::string cluster_of(X509* certificate);
Digest digest_of(X509* certificate);

}  // namespace weft::io
