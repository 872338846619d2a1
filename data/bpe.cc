#include "data/bpe.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <queue>
#include <tuple>

#include "core/base/error.h"
#include "core/base/files.h"
#include "data/archive.h"
#include "data/utf8.h"

namespace swy::data {
namespace fs = std::filesystem;
namespace {

uint64_t key_of(BpePair pair) {
  return uint64_t{static_cast<uint32_t>(pair.left)} << 32 | static_cast<uint32_t>(pair.right);
}

// The printable character that stands for each byte.
struct ByteNames {
  ByteNames() : byte_of(0x180, -1) {
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const uint32_t c = printable ? b : next++;
      byte_of[c] = static_cast<int>(b);
      name[b] = c < 0x80 ? std::string(1, static_cast<char>(c))
                         : std::string{static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    }
  }
  // The bytes a token of the files stands for, or the token itself where it has other characters (special tokens).
  std::string bytes(const std::string& token) const {
    std::string out;
    for (size_t at = 0; at < token.size();) {
      const CodePoint c = code_point(token, at);
      if (!c.valid || c.value >= byte_of.size() || byte_of[c.value] < 0) return token;
      out += static_cast<char>(byte_of[c.value]);
      at += static_cast<size_t>(c.bytes);
    }
    return out;
  }
  std::string written(const std::string& text) const {
    std::string out;
    for (char c : text) out += name[static_cast<uint8_t>(c)];
    return out;
  }

  std::string name[256];     // UTF-8
  std::vector<int> byte_of;  // [code point] or -1
};

const ByteNames& byte_names() {
  static const ByteNames names;
  return names;
}

std::string read_text_file(const fs::path& directory, const std::string& name) {
  std::vector<fs::path> tried;
  const fs::path path = find_packed(directory, "", name, &tried);
  if (path.empty()) {
    environment_error("cannot find '", name, "' of a BPE tokenizer in '", directory.string(),
                      "'; check the path (both vocab.json and merges.txt are needed, plain, .gz or .xz)");
  }
  const std::vector<uint8_t> bytes = read_unpacked(path);
  return {bytes.begin(), bytes.end()};
}

}  // namespace

void Bpe::add_merge(BpePair pair, int32_t merged) {
  rank_of_.emplace(key_of(pair), static_cast<int32_t>(merges_.size()));
  merges_.push_back(pair);
  merged_.push_back(merged);
}

std::unique_ptr<Bpe> Bpe::read(const fs::path& directory, const std::string& name) {
  const fs::path vocab_path = directory / "vocab.json", merges_path = directory / "merges.txt";
  std::unique_ptr<Bpe> bpe(new Bpe(name));
  std::unordered_map<std::string, int32_t> id_of;  // as written in the files
  try {
    const auto vocab = nlohmann::json::parse(read_text_file(directory, "vocab.json"));
    bpe->texts_.resize(vocab.size());
    std::vector<uint8_t> seen(vocab.size());
    for (const auto& [token, value] : vocab.items()) {
      const int64_t id = value.get<int64_t>();
      if (id < 0 || id >= static_cast<int64_t>(vocab.size()) || seen[id]) {
        environment_error("bad vocabulary '", vocab_path.string(), "': id ", id, " of '", token,
                          "' is given twice or is outside [0, ", vocab.size(), "); take a whole, unchanged file");
      }
      seen[id] = 1;
      id_of.emplace(token, static_cast<int32_t>(id));
      bpe->texts_[id] = byte_names().bytes(token);
    }
  } catch (const nlohmann::json::exception& e) {
    environment_error("bad vocabulary '", vocab_path.string(), "': ", e.what(), "; it is to be a map of tokens to ids");
  }
  std::vector<uint8_t> made(bpe->texts_.size());  // by a byte or a merge so far
  for (int b = 0; b < 256; ++b) {
    const auto found = id_of.find(byte_names().name[b]);
    if (found == id_of.end()) {
      environment_error("bad vocabulary '", vocab_path.string(), "': no token for byte ", b, " ('",
                        byte_names().name[b], "'); it is not one of a byte-level BPE");
    }
    bpe->byte_id_.push_back(found->second);
    made[found->second] = 1;
  }
  const std::string lines = read_text_file(directory, "merges.txt");
  int64_t number = 0;
  for (size_t begin = 0; begin < lines.size();) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    std::string line = lines.substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || (number == 1 && line.rfind("#version", 0) == 0)) continue;
    const auto bad = [&](const std::string& why) {
      environment_error("bad merges '", merges_path.string(), "' line ", number, " '", line, "': ", why,
                        "; take vocab.json and merges.txt of the same tokenizer");
    };
    const size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos) bad("not two tokens and a space");
    const auto known = [&](const std::string& token) {
      const auto found = id_of.find(token);
      if (found == id_of.end()) bad(cat("'", token, "' is not in the vocabulary"));
      return found->second;
    };
    const BpePair pair{known(line.substr(0, space)), known(line.substr(space + 1))};
    if (!made[pair.left] || !made[pair.right]) bad("one of the two is not made by an earlier line");
    if (bpe->rank_of_.count(key_of(pair))) bad("the pair was there before");
    const int32_t merged = known(line.substr(0, space) + line.substr(space + 1));
    made[merged] = 1;
    bpe->add_merge(pair, merged);
  }
  return bpe;
}

void Bpe::write(const fs::path& directory) const {
  nlohmann::ordered_json vocab = nlohmann::ordered_json::object();
  for (size_t id = 0; id < texts_.size(); ++id) vocab[byte_names().written(texts_[id])] = id;
  std::string lines = "#version: 0.2\n";
  for (const BpePair& pair : merges_) {
    lines += byte_names().written(texts_[pair.left]) + " " + byte_names().written(texts_[pair.right]) + "\n";
  }
  fs::create_directories(directory);
  write_atomically(directory / "vocab.json", vocab.dump());
  write_atomically(directory / "merges.txt", lines);
}

// Joins pairs in the order of their rank, leftmost first, with a list of the symbols still there and a heap of the
// pairs seen so far: n log n, so that a megabyte without a space does not take for ever.
void Bpe::encode_word(std::string_view word, std::vector<int32_t>& ids) const {
  struct Symbol {
    int32_t id, previous, next;  // next = -1 at the end; id = -1: joined to the one before
  };
  const int32_t n = static_cast<int32_t>(word.size());
  std::vector<Symbol> symbols(word.size());
  for (int32_t i = 0; i < n; ++i) {
    symbols[i] = {byte_id_[static_cast<uint8_t>(word[i])], i - 1, i + 1 < n ? i + 1 : -1};
  }
  using Entry = std::tuple<int32_t, int32_t>;  // rank, position of the left symbol
  std::priority_queue<Entry, std::vector<Entry>, std::greater<Entry>> queue;
  const auto rank_at = [&](int32_t i) {
    if (i < 0 || symbols[i].id < 0 || symbols[i].next < 0) return -1;
    const auto found = rank_of_.find(key_of({symbols[i].id, symbols[symbols[i].next].id}));
    return found == rank_of_.end() ? -1 : found->second;
  };
  const auto offer = [&](int32_t i) {
    const int32_t rank = rank_at(i);
    if (rank >= 0) queue.emplace(rank, i);
  };
  for (int32_t i = 0; i < n; ++i) offer(i);
  while (!queue.empty()) {
    const auto [rank, i] = queue.top();
    queue.pop();
    if (rank_at(i) != rank) continue;  // one of the two has been joined elsewhere since
    const int32_t gone = symbols[i].next;
    symbols[i].id = merged_[rank];
    symbols[i].next = symbols[gone].next;
    symbols[gone].id = -1;
    if (symbols[i].next >= 0) symbols[symbols[i].next].previous = i;
    offer(symbols[i].previous);
    offer(i);
  }
  for (int32_t i = 0; i >= 0 && i < n; i = symbols[i].next) ids.push_back(symbols[i].id);
}

std::vector<int32_t> Bpe::encode(std::string_view text, const std::string&, int64_t limit) const {
  struct Encoded {
    size_t first, count;  // in `known`
  };
  std::unordered_map<std::string_view, Encoded> cache;  // text is mostly words seen before
  std::vector<int32_t> known, ids;
  const size_t most = static_cast<size_t>(std::min<int64_t>(limit, static_cast<int64_t>(text.size())));
  for_bpe_words(text, [&](std::string_view word) {
    const auto [at, fresh] = cache.try_emplace(word, Encoded{known.size(), 0});
    if (fresh) {
      encode_word(word, known);
      at->second.count = known.size() - at->second.first;
    }
    const auto first = known.begin() + static_cast<std::ptrdiff_t>(at->second.first);
    ids.insert(ids.end(), first, first + static_cast<std::ptrdiff_t>(at->second.count));
    return ids.size() < most;
  });
  if (ids.size() > most) ids.resize(most);
  return ids;
}

}  // namespace swy::data
