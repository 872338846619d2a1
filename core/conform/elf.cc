#include "core/conform/elf.h"

#include <elf.h>

#include <cstring>
#include <map>

#include "core/base/error.h"
#include "core/base/files.h"

namespace swy::conform {
namespace {

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path), bytes_(read_text(path)) {}

  ElfFile read() {
    header_ = at<Elf64_Ehdr>(0);
    if (std::memcmp(header_.e_ident, ELFMAG, SELFMAG) != 0) bad("it does not begin as an ELF file does");
    if (header_.e_ident[EI_CLASS] != ELFCLASS64 || header_.e_ident[EI_DATA] != ELFDATA2LSB)
      bad("it is not 64-bit little-endian");
    if (header_.e_type != ET_DYN) bad("it is not a shared library");
    for (int i = 0; i < header_.e_phnum; ++i)
      segments_.push_back(at<Elf64_Phdr>(header_.e_phoff + uint64_t{sizeof(Elf64_Phdr)} * i));
    read_dynamic();
    read_symbols();
    file_.init_entries = entries(DT_INIT_ARRAYSZ) + entries(DT_PREINIT_ARRAYSZ) + section_entries(".ctors");
    file_.fini_entries = entries(DT_FINI_ARRAYSZ) + section_entries(".dtors");
    file_.has_sections = header_.e_shnum > 0;
    file_.init_bytes = code_bytes(DT_INIT, ".init");
    file_.fini_bytes = code_bytes(DT_FINI, ".fini");
    Elf64_Shdr found;
    file_.has_device_code = section(".nv_fatbin", found) != nullptr;
    if (file_.has_device_code) {
      file_.registrations = registrations(DT_INIT_ARRAY, DT_INIT_ARRAYSZ);
      file_.deregistrations = registrations(DT_FINI_ARRAY, DT_FINI_ARRAYSZ);
    }
    for (const std::string& name : file_.exported)
      if (file_.has_device_code && (stands_in_data(name) || name.find("__device_stub_") != std::string::npos))
        file_.exported_kernels.push_back(name);
    return file_;
  }

 private:
  [[noreturn]] void bad(const char* why) const { environment_error(path_, " cannot be read as a plugin: ", why); }

  template <class T>
  T at(uint64_t offset) const {
    T value;
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof value) bad("it ends too early");
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
  }

  // Where in the file the bytes lie that are at `address` when the library is loaded.
  uint64_t offset_of(uint64_t address) const {
    for (const Elf64_Phdr& s : segments_)
      if (s.p_type == PT_LOAD && address >= s.p_vaddr && address - s.p_vaddr < s.p_filesz)
        return s.p_offset + (address - s.p_vaddr);
    bad("an address points outside of its segments");
  }
  template <class T>
  T loaded(uint64_t address) const {
    return at<T>(offset_of(address));
  }

  std::string text(uint64_t offset) const {
    const size_t end = offset < bytes_.size() ? bytes_.find('\0', offset) : std::string::npos;
    if (end == std::string::npos) bad("a name has no end");
    return bytes_.substr(offset, end - offset);
  }

  void read_dynamic() {
    std::vector<uint64_t> needed;
    for (const Elf64_Phdr& s : segments_) {
      if (s.p_type != PT_DYNAMIC) continue;
      for (uint64_t i = 0; i < s.p_filesz / sizeof(Elf64_Dyn); ++i) {
        const auto d = at<Elf64_Dyn>(s.p_offset + i * sizeof(Elf64_Dyn));
        if (d.d_tag == DT_NULL) break;
        if (d.d_tag == DT_NEEDED) needed.push_back(d.d_un.d_val);
        dynamic_[d.d_tag] = d.d_un.d_val;
      }
    }
    if (!dynamic_.count(DT_SYMTAB) || !dynamic_.count(DT_STRTAB)) bad("it has no dynamic symbol table");
    strings_ = offset_of(dynamic_[DT_STRTAB]);
    for (const uint64_t name : needed) file_.needed.push_back(text(strings_ + name));
  }

  // Symbols that others may find stand at the end of the table, and only they are in the GNU hash table.
  uint64_t symbol_count() const {
    if (const auto it = dynamic_.find(DT_HASH); it != dynamic_.end()) return loaded<uint32_t>(it->second + 4);
    const auto it = dynamic_.find(DT_GNU_HASH);
    if (it == dynamic_.end()) bad("it has no hash table of its symbols");
    const uint64_t table = it->second;
    const auto buckets = loaded<uint32_t>(table), first = loaded<uint32_t>(table + 4);
    const auto bloom_words = loaded<uint32_t>(table + 8);
    const uint64_t bucket_at = table + 16 + uint64_t{8} * bloom_words, chain_at = bucket_at + uint64_t{4} * buckets;
    uint32_t last = 0;
    for (uint32_t b = 0; b < buckets; ++b) last = std::max(last, loaded<uint32_t>(bucket_at + uint64_t{4} * b));
    if (last < first) return undefined_count(first);
    while (!(loaded<uint32_t>(chain_at + uint64_t{4} * (last - first)) & 1)) ++last;
    return last + 1;
  }
  // An empty hash table may name any first symbol; then the table ends where the strings begin.
  uint64_t undefined_count(uint32_t first) const {
    const uint64_t table = dynamic_.at(DT_SYMTAB), strings = dynamic_.at(DT_STRTAB);
    return strings > table ? (strings - table) / sizeof(Elf64_Sym) : first;
  }

  void read_symbols() {
    const uint64_t n = symbol_count();
    for (uint64_t i = 1; i < n; ++i) {
      const auto s = loaded<Elf64_Sym>(dynamic_[DT_SYMTAB] + i * sizeof(Elf64_Sym));
      const int bind = ELF64_ST_BIND(s.st_info), visibility = ELF64_ST_VISIBILITY(s.st_other);
      if (s.st_shndx == SHN_UNDEF) {
        if (bind == STB_GLOBAL) file_.undefined.push_back(text(strings_ + s.st_name));
      } else if (bind != STB_LOCAL && (visibility == STV_DEFAULT || visibility == STV_PROTECTED)) {
        file_.exported.push_back(text(strings_ + s.st_name));
      }
    }
  }

  int64_t entries(int64_t tag) const {
    const auto it = dynamic_.find(tag);
    return it == dynamic_.end() ? 0 : static_cast<int64_t>(it->second / sizeof(uint64_t));
  }

  const Elf64_Shdr* section(const char* name, Elf64_Shdr& found) const {
    if (header_.e_shnum == 0) return nullptr;
    const uint64_t size = sizeof(Elf64_Shdr);
    const auto names = at<Elf64_Shdr>(header_.e_shoff + size * header_.e_shstrndx);
    for (int i = 0; i < header_.e_shnum; ++i) {
      found = at<Elf64_Shdr>(header_.e_shoff + size * i);
      if (text(names.sh_offset + found.sh_name) == name) return &found;
    }
    return nullptr;
  }
  // Names of the functions in .symtab by address.
  std::map<uint64_t, std::string> functions() const {
    std::map<uint64_t, std::string> all;
    Elf64_Shdr symbols, names;
    if (!section(".symtab", symbols) || !section(".strtab", names)) return all;
    for (uint64_t i = 0; i < symbols.sh_size / sizeof(Elf64_Sym); ++i) {
      const auto s = at<Elf64_Sym>(symbols.sh_offset + i * sizeof(Elf64_Sym));
      if (ELF64_ST_TYPE(s.st_info) == STT_FUNC) all[s.st_value] = text(names.sh_offset + s.st_name);
    }
    return all;
  }
  int64_t registrations(int64_t array, int64_t size) const {
    const std::map<uint64_t, std::string> name = functions();
    const auto list = dynamic_.find(array);
    int64_t n = 0;
    for (int64_t i = 0; list != dynamic_.end() && i < entries(size); ++i) {
      const auto it = name.find(loaded<uint64_t>(list->second + sizeof(uint64_t) * static_cast<uint64_t>(i)));
      if (it == name.end()) continue;
      n += it->second.find("__cudaRegisterAll") != std::string::npos || it->second.rfind("libcudart_static_", 0) == 0;
    }
    return n;
  }
  // The old lists begin with -1 and end with 0.
  int64_t section_entries(const char* name) const {
    Elf64_Shdr found;
    const Elf64_Shdr* s = section(name, found);
    return s && s->sh_size > 16 ? static_cast<int64_t>(s->sh_size / 8 - 2) : 0;
  }
  bool stands_in_data(const std::string& name) const {
    Elf64_Shdr data;
    if (!section(".rodata", data) || data.sh_offset > bytes_.size()) return false;
    return ('\0' + bytes_.substr(data.sh_offset, data.sh_size)).find('\0' + name + '\0') != std::string::npos;
  }
  int64_t code_bytes(int64_t tag, const char* name) const {
    const auto it = dynamic_.find(tag);
    if (it == dynamic_.end()) return 0;
    Elf64_Shdr found;
    const Elf64_Shdr* s = section(name, found);
    return s && s->sh_addr == it->second ? static_cast<int64_t>(s->sh_size) : -1;
  }

  const std::filesystem::path path_;
  const std::string bytes_;
  Elf64_Ehdr header_{};
  std::vector<Elf64_Phdr> segments_;
  std::map<int64_t, uint64_t> dynamic_;
  uint64_t strings_ = 0;  // of the dynamic symbols, in the file
  ElfFile file_;
};

}  // namespace

ElfFile read_elf(const std::filesystem::path& path) { return Reader(path).read(); }

}  // namespace swy::conform
