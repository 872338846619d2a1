// Text sets in memory: token ids and what they stand for, in splits for training, validation and test. Every text
// reader and every tokenizer of this folder ends here, so training and evaluation see one type.
//
// Splits are those of the literature where there is one: enwik8 and text8 first 90 MB, next 5, last 5; WikiText and PTB
// as shipped; tiny Shakespeare first 90 % and last 10 % (nanoGPT), its test split equal to the validation split. Any
// other file is cut 90/5/5 % by position, and says so.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace swy::data {

class Tokenizer;

struct TextSplit {
  std::vector<int32_t> token;    // [tokens], each in [0, vocabulary)
  std::vector<int32_t> cluster;  // [tokens] true cluster of each token; planted sets only, else empty
  // Bytes, characters or words (TextDataset::unit) all the tokens together stand for. A loss of `x` nats per token is
  // x * token.size() / units / ln 2 bits per unit, whichever tokens were scored.
  double units = 0;
};

struct TextDataset {
  std::string id, title;
  std::string tokenizer;  // "byte" "text8" "character" "word" "bpe-1024" "gpt2" ...
  std::string unit;       // "byte", "character" or "word": what a published number for such a set is per
  std::string split;      // for people: "90/5/5 MB, standard", "90/5/5 % by position, own"
  int vocabulary = 0;
  TextSplit train, valid, test;
  int planted_clusters = 0;                  // 0: no known routing
  double planted_entropy = 0;                // nats per token: the best loss possible with all of the past
  double planted_first_entropy = 0;          // nats: the same with one token of the past, as at the start of a window
  std::string sha256;                        // of vocabulary, tokens and clusters of the three splits
  std::vector<std::string> token_texts;      // [vocabulary] bytes each token stands for
  std::shared_ptr<const Tokenizer> encoder;  // what made the ids, for further texts; null for planted sets

  // The bytes of a token; throws Error (usage) outside [0, vocabulary).
  const std::string& token_text(int32_t token) const;
  // Planted sets: the best mean loss possible over disjoint windows of `context` tokens, nats (see grammar.h).
  double planted_window_entropy(int64_t context) const;
};

// How `planted_grammar` is generated; see grammar.h for what the fields mean.
struct GrammarOptions {
  uint64_t seed = 0;
  int clusters = 8, symbols = 8;  // vocabulary = 2 * clusters * symbols
  int fixed_percent = 50;         // chance that a token is of the kind whose id alone gives the cluster
  int noise_percent = 10;         // chance that the next symbol is drawn uniformly instead of by the rule
  int64_t train = 1 << 20, valid = 1 << 16, test = 1 << 16;  // tokens
};

struct TextOptions {
  // Empty: the set's own default. Else byte, text8, character, word, bpe-N (N ids: 256 bytes and N - 256 merges learnt
  // from the train split), gpt2 (read from data_dir/tokenizer/gpt2) or bpe:DIR (vocab.json and merges.txt of DIR).
  std::string tokenizer;
  int64_t train_limit = 0, valid_limit = 0, test_limit = 0;  // only the first n tokens of a split; 0: all
  GrammarOptions grammar;
};

// The ids load_text knows: enwik8 text8 wikitext2 wikitext103 ptb tinyshakespeare enwiki_sample planted_grammar
// (text_file:PATH is no id but works).
const std::vector<std::string>& text_ids();

// Reads (or generates) and tokenises a set. The official folder names are looked for in data_dir, data_dir/vision and
// data_dir/text, each file plain, .gz or .xz. Throws Error: usage for an unknown id or option, or a text that the
// tokenizer does not cover; environment for missing or bad files.
TextDataset load_text(const std::string& id, const std::filesystem::path& data_dir, const TextOptions& options = {});

// The first `limit` tokens (0: all) of another text through the tokenizer of `set`, to evaluate a model of `set` where
// the domain is another: the test split of a known id, or all of text_file:PATH. Words that `set` does not have become
// its <unk>. Throws Error as load_text does: usage for a planted set on either side, and for a character or word that
// the tokenizer does not cover, naming it and its byte.
TextSplit load_shifted(const TextDataset& set, const std::string& other, const std::filesystem::path& data_dir,
                       int64_t limit = 0);

}  // namespace swy::data
