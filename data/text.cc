#include "data/text.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "data/archive.h"
#include "data/grammar.h"
#include "data/readers.h"
#include "data/tokenizer.h"

namespace swy::data {
namespace fs = std::filesystem;
namespace {

constexpr std::array<const char*, 3> kSplitNames = {"train", "valid", "test"};

// The bytes of a set and where its splits lie in them.
struct RawText {
  std::vector<std::vector<uint8_t>> files;
  std::array<std::string_view, 3> part;  // train, valid, test
  std::array<std::string, 3> where;      // for messages
};

std::string_view view(const std::vector<uint8_t>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// One file is cut by position: train from the front, valid after it, test from the back. So a set whose test split is
// its validation split has a `test` of the same size, and nothing more to say.
RawText read_parts(const Manifest& m, const fs::path& data_dir) {
  RawText raw;
  std::vector<fs::path> paths;
  // All files are looked for before the first is unpacked: what is missing shows at once.
  for (const ManifestFile& f : m.files) paths.push_back(require_file(data_dir, m, f.name));
  for (size_t i = 0; i < paths.size(); ++i) {
    raw.files.push_back(read_unpacked(paths[i], kWholeFile, m.files[i].bytes));
    const auto bytes = static_cast<int64_t>(raw.files.back().size());
    if (m.files[i].bytes > 0 && bytes != m.files[i].bytes) {
      environment_error("'", paths[i].string(), "' has ", bytes, " bytes, but '", m.files[i].name, "' of ", m.id,
                        " has ", m.files[i].bytes, "; run: switchyard data verify ", m.id,
                        " (a part of a set or another text: "
                        "text_file:PATH)");
    }
  }
  if (paths.size() == 1) {
    const std::string_view all = view(raw.files[0]);
    raw.part = {all.substr(0, static_cast<size_t>(m.train)),
                all.substr(static_cast<size_t>(m.train), static_cast<size_t>(m.valid)),
                all.substr(static_cast<size_t>(m.files[0].bytes - m.test))};
    for (size_t i = 0; i < raw.part.size(); ++i)
      raw.where[i] = cat("split ", kSplitNames[i], " of '", paths[0].string(), "'");
  } else {
    for (size_t i = 0; i < raw.part.size(); ++i) {
      raw.part[i] = view(raw.files.at(i));
      raw.where[i] = cat("'", paths[i].string(), "'");
    }
  }
  return raw;
}

// 90/5/5 % by position, each cut moved on to the next start of a UTF-8 sequence.
RawText read_own(const fs::path& path) {
  RawText raw;
  raw.files.push_back(read_unpacked(path));
  const std::string_view all = view(raw.files[0]);
  const auto cut = [&](size_t percent) {
    size_t at = all.size() / 100 * percent + all.size() % 100 * percent / 100;
    while (at < all.size() && (static_cast<uint8_t>(all[at]) & 0xC0) == 0x80) ++at;
    return at;
  };
  const size_t first = cut(90), second = cut(95);
  raw.part = {all.substr(0, first), all.substr(first, second - first), all.substr(second)};
  for (size_t i = 0; i < raw.part.size(); ++i)
    raw.where[i] = cat("split ", kSplitNames[i], " of '", path.string(), "'");
  return raw;
}

TextSplit encode(const Tokenizer& tokenizer, std::string_view text, const std::string& where, int64_t limit) {
  TextSplit split;
  split.token = tokenizer.encode(text, where, limit > 0 ? limit : kAllTokens);
  if (split.token.size() < 2) {
    environment_error(where, " has ", split.token.size(), " tokens; at least 2 are needed");
  }
  for (int32_t id : split.token) split.units += tokenizer.units_of(id);
  return split;
}

void tokenise(const RawText& raw, const std::string& name, const fs::path& data_dir, const TextOptions& options,
              TextDataset& set) {
  set.encoder = make_tokenizer(name, raw.part[0], data_dir);
  set.tokenizer = set.encoder->name();
  set.unit = set.encoder->unit();
  set.vocabulary = set.encoder->vocabulary();
  set.token_texts = set.encoder->texts();
  const std::array<TextSplit*, 3> splits = {&set.train, &set.valid, &set.test};
  const std::array<int64_t, 3> limits = {options.train_limit, options.valid_limit, options.test_limit};
  for (size_t i = 0; i < splits.size(); ++i) *splits[i] = encode(*set.encoder, raw.part[i], raw.where[i], limits[i]);
}

void finish_text(TextDataset& set) {
  Sha256 hash;
  const auto numbers = [&hash](const std::vector<int32_t>& values) {
    const auto count = static_cast<int64_t>(values.size());
    hash.update(&count, sizeof count);
    hash.update(values.data(), values.size() * sizeof(int32_t));
  };
  for (const std::string& text : set.token_texts) hash.update(text.c_str(), text.size() + 1);
  for (const TextSplit* split : {&set.train, &set.valid, &set.test}) {
    numbers(split->token);
    numbers(split->cluster);
  }
  set.sha256 = hash.hex();
}

TextDataset grammar_set(const TextOptions& options) {
  if (!options.tokenizer.empty()) {
    usage_error("planted_grammar is generated as tokens; leave the tokenizer away instead of '", options.tokenizer,
                "'");
  }
  GrammarOptions grammar = options.grammar;
  const auto limit = [](int64_t& tokens, int64_t most) { tokens = most > 0 ? std::min(tokens, most) : tokens; };
  limit(grammar.train, options.train_limit);
  limit(grammar.valid, options.valid_limit);
  limit(grammar.test, options.test_limit);
  return make_grammar(grammar);
}

// The path of text_file:PATH, empty for another id.
fs::path own_file(const std::string& id, const fs::path& data_dir) {
  const std::string prefix = "text_file:";
  if (id.rfind(prefix, 0) != 0) return {};
  const fs::path path = id.substr(prefix.size());
  return path.is_absolute() ? path : data_dir / path;
}

Manifest known_manifest(const std::string& id) {
  const std::vector<std::string>& known = text_ids();
  if (std::find(known.begin(), known.end(), id) == known.end()) {
    std::string list;
    for (const std::string& other : known) list += other + " ";
    usage_error("unknown text set '", id, "'; known are: ", list, "text_file:PATH");
  }
  return read_manifest(id);
}

}  // namespace

const std::vector<std::string>& text_ids() {
  static const std::vector<std::string> ids = {"enwik8", "text8",           "wikitext2",     "wikitext103",
                                               "ptb",    "tinyshakespeare", "enwiki_sample", "planted_grammar"};
  return ids;
}

const std::string& TextDataset::token_text(int32_t token) const {
  if (token < 0 || token >= static_cast<int32_t>(token_texts.size())) {
    usage_error("token ", token, " is outside the vocabulary [0, ", token_texts.size(), ") of '", id, "'");
  }
  return token_texts[token];
}

double TextDataset::planted_window_entropy(int64_t context) const {
  if (planted_clusters == 0) usage_error("'", id, "' is no planted set: its entropy is not known");
  if (context < 1) usage_error("context ", context, " must be at least 1 token");
  return (planted_first_entropy + static_cast<double>(context - 1) * planted_entropy) / static_cast<double>(context);
}

TextDataset load_text(const std::string& id, const fs::path& data_dir, const TextOptions& options) {
  if (options.train_limit < 0 || options.valid_limit < 0 || options.test_limit < 0) {
    usage_error("train_limit ", options.train_limit, ", valid_limit ", options.valid_limit, " and test_limit ",
                options.test_limit, " must not be negative (0 is no limit)");
  }
  TextDataset set;
  if (const fs::path path = own_file(id, data_dir); !path.empty()) {
    set.title = "text file " + path.filename().string();
    set.split = "90/5/5 % by position, own";
    tokenise(read_own(path), options.tokenizer.empty() ? "byte" : options.tokenizer, data_dir, options, set);
  } else if (id == "planted_grammar") {
    set = grammar_set(options);
  } else {
    const Manifest manifest = known_manifest(id);
    set.title = manifest.title;
    set.split = manifest.split;
    tokenise(read_parts(manifest, data_dir), options.tokenizer.empty() ? manifest.tokenizer : options.tokenizer,
             data_dir, options, set);
  }
  set.id = id;
  finish_text(set);
  return set;
}

TextSplit load_shifted(const TextDataset& set, const std::string& other, const fs::path& data_dir, int64_t limit) {
  if (limit < 0) usage_error("limit ", limit, " must not be negative (0 is no limit)");
  if (!set.encoder || other == "planted_grammar") {
    usage_error("'", other, "' cannot be read as a shifted domain of '", set.id,
                "': the tokens of planted_grammar are generated and stand for no text");
  }
  if (const fs::path path = own_file(other, data_dir); !path.empty()) {
    const std::vector<uint8_t> file = read_unpacked(path);
    return encode(*set.encoder, view(file), cat("'", path.string(), "'"), limit);
  }
  const RawText raw = read_parts(known_manifest(other), data_dir);
  return encode(*set.encoder, raw.part[2], raw.where[2], limit);
}

}  // namespace swy::data
