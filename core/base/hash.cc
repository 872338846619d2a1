#include "core/base/hash.h"

#include <openssl/evp.h>

#include <fstream>
#include <vector>

#include "core/base/error.h"

namespace swy {
namespace {

void require(bool ok, const char* call) {
  if (!ok) fail(Kind::kFailure, "SHA-256: OpenSSL's ", call, " failed; is SHA-256 disabled by its configuration?");
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  require(context_ != nullptr, "EVP_MD_CTX_new");
  require(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, "EVP_DigestInit_ex");
}

void Sha256::update(const void* data, size_t bytes) {
  require(EVP_DigestUpdate(context_.get(), data, bytes) == 1, "EVP_DigestUpdate");
}

std::string Sha256::hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  require(EVP_DigestFinal_ex(context_.get(), digest, &size) == 1, "EVP_DigestFinal_ex");
  std::string text;
  for (unsigned int i = 0; i < size; ++i) {
    text += "0123456789abcdef"[digest[i] >> 4];
    text += "0123456789abcdef"[digest[i] & 15];
  }
  return text;
}

std::string sha256_hex(const void* data, size_t bytes) {
  Sha256 hash;
  hash.update(data, bytes);
  return hash.hex();
}

std::string sha256_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) environment_error("cannot open ", path, " to hash it; does it exist and may this user read it?");
  Sha256 hash;
  std::vector<char> buffer(1 << 16);
  do {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    hash.update(buffer.data(), static_cast<size_t>(file.gcount()));
  } while (file);
  if (!file.eof()) environment_error("cannot read ", path, " to its end while hashing it; is it a directory?");
  return hash.hex();
}

}  // namespace swy
