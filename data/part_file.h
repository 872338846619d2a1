// A file under construction: written as `<path>.part`, given its name by commit() alone.
#pragma once
#include <cstdint>
#include <filesystem>

namespace swy::data {

class PartFile {
 public:
  static std::filesystem::path part_of(const std::filesystem::path& path) { return path.string() + ".part"; }

  // Creates the folder. keep: append to what an earlier attempt left, otherwise start empty. Throws Error
  // (environment).
  PartFile(const std::filesystem::path& path, bool keep);
  ~PartFile();  // leaves the .part where it is
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  int64_t size() const { return size_; }
  void write(const void* bytes, size_t count);  // throws Error (environment) with the reason, such as a full disk
  void commit();                                // fsync, rename, fsync of the folder
  void discard();                               // removes the .part

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  int64_t size_ = 0;
};

}  // namespace swy::data
