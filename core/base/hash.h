// SHA-256 of bytes and files, as 64 lower-case hex digits: identity of plugins, data files and runs.
#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

struct evp_md_ctx_st;

namespace swy {

// For content that arrives in pieces: update as often as needed, then hex once.
class Sha256 {
 public:
  Sha256();
  void update(const void* data, size_t bytes);
  // The digest of everything so far. The object is finished: no update or hex after this.
  std::string hex();

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> context_;
};

std::string sha256_hex(const void* data, size_t bytes);
// Throws Error (environment) when the file cannot be read to its end.
std::string sha256_file(const std::filesystem::path&);

}  // namespace swy
