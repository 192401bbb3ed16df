// Hugging Face's tokenizers as GGUF metadata: tokenizer.json (BPE, Unigram, WordPiece), or a SentencePiece model file of BPE.
// Sources: the JSON of the tokenizers library, sentencepiece_model.proto, and the keys that llama.cpp reads.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common.hpp"
#include "hf_folder.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::FailAt;
using inlay::Result;

namespace {

// GGUF's numbers of token types, which are SentencePiece's.
enum TokenType : std::int32_t { kAbsent = 0, kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581

const HfJson* Member(const HfJson& json, const char* key) {
  if (!json.is_object()) return nullptr;
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

std::string TextOf(const HfJson& json, const char* key) {
  const HfJson* const value = Member(json, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

bool IsTrue(const HfJson& json, const char* key) {
  const HfJson* const value = Member(json, key);
  return value != nullptr && value->is_boolean() && value->get<bool>();
}

// The steps of a pre-tokenizer, normalizer or post-processor, which may be a sequence.
std::vector<const HfJson*> Steps(const HfJson* step, const char* list) {
  if (step == nullptr) return {};
  if (TextOf(*step, "type") != "Sequence") return {step};
  std::vector<const HfJson*> steps;
  if (const HfJson* const inner = Member(*step, list); inner != nullptr && inner->is_array()) {
    for (const HfJson& one : *inner) steps.push_back(&one);
  }
  return steps;
}

// How a pre-tokenizer cuts text, in one string: what identifies it.
std::string CuttingOf(const HfJson* pre_tokenizer) {
  std::string cutting;
  for (const HfJson* step : Steps(pre_tokenizer, "pretokenizers")) {
    const std::string type = TextOf(*step, "type");
    if (type == "ByteLevel") {
      // Cuts by GPT-2's expression unless it is told not to.
      const HfJson* const own = Member(*step, "use_regex");
      if (own == nullptr || !own->is_boolean() || own->get<bool>()) cutting += "|GPT-2";
    } else if (type == "Split") {
      const HfJson* const pattern = Member(*step, "pattern");
      cutting += "|" + (pattern == nullptr ? std::string() : TextOf(*pattern, "Regex") + TextOf(*pattern, "String"));
    } else if (type == "Digits") {
      cutting += IsTrue(*step, "individual_digits") ? "|digit" : "|digits";
    } else {
      cutting += "|" + type;
    }
  }
  return cutting;
}

struct PreTokenizer {
  std::string_view cutting;
  std::string_view name;  // tokenizer.ggml.pre
};
constexpr PreTokenizer kPreTokenizers[] = {
    {"|GPT-2", "gpt-2"},
    {"|digit|GPT-2", "smollm"},
    {R"re(|(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re", "llama-bpe"},
    {R"re(|(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re", "qwen2"},
    {R"re(|(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re", "qwen35"},
    {R"re(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re", "tekken"},
    {R"re(|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re", "gpt-4o"},
};

// A SentencePiece model file: as much of its protocol buffers as a vocabulary needs.
class ProtoReader {
 public:
  explicit ProtoReader(std::string_view bytes) : bytes_(bytes) {}

  struct Field {
    std::uint64_t number = 0;
    std::uint64_t integer = 0;  // of a varint or fixed field
    std::string_view bytes;     // of a length-delimited one
  };

  bool done() const { return at_ == bytes_.size(); }
  // False where the bytes are no message.
  bool Next(Field& field) {
    std::uint64_t tag = 0;
    field = {};
    if (!Varint(tag)) return false;
    field.number = tag >> 3;
    switch (tag & 7) {
      case 0: return Varint(field.integer);
      case 1: return Fixed(8, field.integer);
      case 5: return Fixed(4, field.integer);
      case 2: {
        std::uint64_t size = 0;
        if (!Varint(size) || size > bytes_.size() - at_) return false;
        field.bytes = bytes_.substr(at_, static_cast<std::size_t>(size));
        at_ += static_cast<std::size_t>(size);
        return true;
      }
      default: return false;
    }
  }

 private:
  bool Varint(std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) return false;
      const unsigned char byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  bool Fixed(std::size_t size, std::uint64_t& value) {
    if (size > bytes_.size() - at_) return false;
    value = 0;
    std::memcpy(&value, bytes_.data() + at_, size);
    at_ += size;
    return true;
  }

  std::string_view bytes_;
  std::size_t at_ = 0;
};

class TokenizerReader {
 public:
  TokenizerReader(const HfFolder& folder, std::size_t vocab, MetadataList& metadata)
      : folder_(folder), metadata_(metadata), tokens_(vocab), scores_(vocab), types_(vocab, kAbsent) {}

  Result<void> Read() {
    INLAY_ASSIGN_OR_RETURN(const std::optional<HfJson> json, folder_.OptionalJson("tokenizer.json"));
    INLAY_ASSIGN_OR_RETURN(const std::optional<HfJson> settings, folder_.OptionalJson("tokenizer_config.json"));
    if (settings) settings_ = *settings;
    const bool sentencepiece = std::filesystem::exists(folder_.File("tokenizer.model"));
    if (!json && !sentencepiece) {
      metadata_.Put("tokenizer.ggml.model", "no_vocab");
      return {};
    }
    const HfJson* const model = json ? Member(*json, "model") : nullptr;
    const std::string type = model == nullptr ? std::string() : TypeOf(*model);
    if (sentencepiece && (!json || (type == "BPE" && IsTrue(*model, "byte_fallback")))) {
      INLAY_CHECK_OK(ReadSentencePiece());
    } else {
      if (model == nullptr) return Fail(ErrorCode::kMissing, "model", "tokenizer.json has no such key");
      INLAY_CHECK_OK(type == "BPE"         ? ReadBpe(*json, *model)
                     : type == "Unigram"   ? ReadUnigram(*json, *model)
                     : type == "WordPiece" ? ReadWordPiece(*json, *model)
                                           : Fail(ErrorCode::kUnsupported, "model.type", "of tokenizer.json is \"", type,
                                                  "\"; BPE, Unigram and WordPiece are converted"));
    }
    INLAY_CHECK_OK(ReadAddedTokens(json ? *json : HfJson()));
    FillGaps();
    metadata_.Put("tokenizer.ggml.tokens", tokens_);
    if (HasScores()) metadata_.Put("tokenizer.ggml.scores", scores_);
    metadata_.Put("tokenizer.ggml.token_type", types_);
    INLAY_CHECK_OK(PutSpecialTokens(json ? *json : HfJson()));
    return PutChatTemplate();
  }

 private:
  enum class Algorithm {
    kMerges,     // BPE over bytes
    kPieces,     // BPE over pieces with scores
    kUnigram,
    kWordPiece,
  };
  bool IsPieces() const { return algorithm_ == Algorithm::kPieces; }
  bool HasScores() const { return IsPieces() || algorithm_ == Algorithm::kUnigram; }

  Result<void> Place(std::uint64_t id, std::string text, float score, TokenType type, std::string_view file) {
    if (id >= tokens_.size()) {
      return Fail(ErrorCode::kMismatch, file, "token ", id, " is beyond the model's ", tokens_.size(), " tokens");
    }
    const std::size_t at = static_cast<std::size_t>(id);
    if (types_[at] != kAbsent) return Fail(ErrorCode::kBadFile, file, "has two tokens of the id ", id);
    id_of_.emplace(text, at);
    tokens_[at] = std::move(text);
    scores_[at] = score;
    types_[at] = type;
    return {};
  }

  static bool IsByteToken(std::string_view text) {
    return text.size() == 6 && text.starts_with("<0x") && text.ends_with('>');
  }

  // Older files do not say it.
  static std::string TypeOf(const HfJson& model) {
    const std::string type = TextOf(model, "type");
    if (!type.empty()) return type;
    const HfJson* const vocab = Member(model, "vocab");
    if (Member(model, "merges") != nullptr) return "BPE";
    if (vocab != nullptr && vocab->is_array()) return "Unigram";
    return Member(model, "continuing_subword_prefix") != nullptr ? "WordPiece" : "";
  }

  // What cuts or changes text in a way that GGUF's algorithm does not.
  static Result<void> RefuseStep(const char* kind, const std::string& type, std::string_view algorithm) {
    return Fail(ErrorCode::kUnsupported, kind, "of tokenizer.json is \"", type, "\", which GGUF's ", algorithm, " does not have");
  }

  // Pieces with scores, of which the best spelling is chosen.
  Result<void> ReadUnigram(const HfJson& json, const HfJson& model) {
    algorithm_ = Algorithm::kUnigram;
    const HfJson* const vocab = Member(model, "vocab");
    if (vocab == nullptr || !vocab->is_array()) return Fail(ErrorCode::kMissing, "model.vocab", "is absent from tokenizer.json");
    if (IsTrue(model, "byte_fallback")) {
      return Fail(ErrorCode::kUnsupported, "model.byte_fallback", "of tokenizer.json is true; GGUF's unigram vocabularies have no bytes");
    }
    const HfJson* const unknown = Member(model, "unk_id");
    if (unknown == nullptr || !unknown->is_number_unsigned() || unknown->get<std::uint64_t>() >= vocab->size()) {
      return Fail(ErrorCode::kMissing, "model.unk_id", "of tokenizer.json is not the id of a token");
    }
    unknown_ = unknown->get<std::uint32_t>();
    for (std::size_t i = 0; i < vocab->size(); ++i) {
      const HfJson& entry = (*vocab)[i];
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
        return Fail(ErrorCode::kBadFile, "model.vocab", "of tokenizer.json: number ", i, " is not a piece and its score");
      }
      INLAY_CHECK_OK(Place(i, entry[0].get<std::string>(), entry[1].get<float>(), i == *unknown_ ? kUnknown : kNormal, "tokenizer.json"));
    }
    metadata_.Put("tokenizer.ggml.model", "t5");
    metadata_.Put("tokenizer.ggml.pre", "default");
    metadata_.Put("tokenizer.ggml.add_space_prefix", PrependsSpace(json));
    bool one_space = false;  // runs of spaces become one
    for (const HfJson* step : Steps(Member(json, "normalizer"), "normalizers")) {
      const std::string type = TextOf(*step, "type");
      if (type == "Precompiled") {
        const Result<std::string> map = DecodeBase64(TextOf(*step, "precompiled_charsmap"));
        if (!map) return Fail(ErrorCode::kBadFile, "precompiled_charsmap", "of tokenizer.json is not base64");
        if (!map->empty()) metadata_.Put("tokenizer.ggml.precompiled_charsmap", std::vector<std::uint8_t>(map->begin(), map->end()));
      } else if (const HfJson* const pattern = type == "Replace" ? Member(*step, "pattern") : nullptr) {
        const std::string content = TextOf(*step, "content");
        const bool runs = TextOf(*pattern, "Regex") == " {2,}" && (content == " " || content == kSpace);
        if (!runs && !(TextOf(*pattern, "String") == " " && content == kSpace)) return RefuseStep("normalizer", type, "unigram");
        one_space |= runs;
      } else if (type != "Strip" && type != "Prepend") {
        return RefuseStep("normalizer", type, "unigram");
      }
    }
    for (const HfJson* step : Steps(Member(json, "pre_tokenizer"), "pretokenizers")) {
      const std::string type = TextOf(*step, "type"), mark = TextOf(*step, "replacement");
      if (type != "WhitespaceSplit" && (type != "Metaspace" || (!mark.empty() && mark != kSpace))) {
        return RefuseStep("pre_tokenizer", type, "unigram");
      }
      one_space |= type == "WhitespaceSplit";
    }
    metadata_.Put("tokenizer.ggml.remove_extra_whitespaces", one_space);
    return {};
  }

  // Words by their longest pieces. GGUF marks pieces that begin a word, not those that continue one.
  Result<void> ReadWordPiece(const HfJson& json, const HfJson& model) {
    algorithm_ = Algorithm::kWordPiece;
    const HfJson* const vocab = Member(model, "vocab");
    if (vocab == nullptr || !vocab->is_object()) return Fail(ErrorCode::kMissing, "model.vocab", "is absent from tokenizer.json");
    constexpr std::string_view kContinues = "##";
    if (const std::string prefix = TextOf(model, "continuing_subword_prefix"); prefix != kContinues) {
      return Fail(ErrorCode::kUnsupported, "model.continuing_subword_prefix", "of tokenizer.json is \"", prefix, "\", must be \"##\"");
    }
    const std::string unknown = TextOf(model, "unk_token");
    for (const auto& [text, id] : vocab->items()) {
      if (!id.is_number_unsigned()) return Fail(ErrorCode::kBadFile, "model.vocab", "of tokenizer.json: an id is no integer");
      const bool continues = text.size() > kContinues.size() && text.starts_with(kContinues), is_unknown = text == unknown;
      std::string piece = is_unknown ? text : continues ? text.substr(kContinues.size()) : std::string(kSpace) + text;
      INLAY_CHECK_OK(Place(id.get<std::uint64_t>(), std::move(piece), 0.0f, is_unknown ? kControl : kNormal, "tokenizer.json"));
    }
    if (const auto found = id_of_.find(unknown); found != id_of_.end()) unknown_ = static_cast<std::uint32_t>(found->second);
    metadata_.Put("tokenizer.ggml.model", "bert");
    metadata_.Put("tokenizer.ggml.pre", "default");
    for (const HfJson* step : Steps(Member(json, "normalizer"), "normalizers")) {
      const std::string type = TextOf(*step, "type");
      const HfJson* const clean = Member(*step, "clean_text");
      const HfJson* const chinese = Member(*step, "handle_chinese_chars");
      const auto is_off = [](const HfJson* flag) { return flag != nullptr && flag->is_boolean() && !flag->get<bool>(); };
      if (type != "BertNormalizer" || is_off(clean) || is_off(chinese)) return RefuseStep("normalizer", type, "WordPiece");
      metadata_.Put("tokenizer.ggml.normalizer.lowercase", IsTrue(*step, "lowercase"));
      if (const HfJson* const strip = Member(*step, "strip_accents"); strip != nullptr && strip->is_boolean()) {
        metadata_.Put("tokenizer.ggml.normalizer.strip_accents", strip->get<bool>());
      }
    }
    for (const HfJson* step : Steps(Member(json, "pre_tokenizer"), "pretokenizers")) {
      const std::string type = TextOf(*step, "type");
      if (type != "BertPreTokenizer") return RefuseStep("pre_tokenizer", type, "WordPiece");
    }
    return {};
  }

  Result<void> ReadBpe(const HfJson& json, const HfJson& model) {
    if (IsTrue(model, "byte_fallback")) algorithm_ = Algorithm::kPieces;
    const HfJson* const vocab = Member(model, "vocab");
    const HfJson* const merges = Member(model, "merges");
    if (vocab == nullptr || !vocab->is_object() || merges == nullptr || !merges->is_array()) {
      return Fail(ErrorCode::kMissing, "model.vocab", "or model.merges is absent from tokenizer.json");
    }
    const std::string unknown = TextOf(model, "unk_token");
    for (const auto& [text, id] : vocab->items()) {
      if (!id.is_number_unsigned()) return Fail(ErrorCode::kBadFile, "model.vocab", "of tokenizer.json: an id is no integer");
      const TokenType kind = IsPieces() && IsByteToken(text) ? kByte : IsPieces() && text == unknown ? kUnknown : kNormal;
      INLAY_CHECK_OK(Place(id.get<std::uint64_t>(), text, 0.0f, kind, "tokenizer.json"));
    }
    INLAY_CHECK_OK(ReadMerges(*merges));
    if (IsPieces()) {
      metadata_.Put("tokenizer.ggml.model", "llama");
      metadata_.Put("tokenizer.ggml.pre", "default");
      metadata_.Put("tokenizer.ggml.add_space_prefix", PrependsSpace(json));
      return {};
    }
    const std::string cutting = CuttingOf(Member(json, "pre_tokenizer"));
    for (const PreTokenizer& known : kPreTokenizers) {
      if (known.cutting != cutting) continue;
      metadata_.Put("tokenizer.ggml.model", "gpt2");
      metadata_.Put("tokenizer.ggml.pre", std::string(known.name));
      metadata_.Put("tokenizer.ggml.merges", merges_);
      return {};
    }
    return Fail(ErrorCode::kUnsupported, "pre_tokenizer", "of tokenizer.json cuts text in a way that is not known by name: ", cutting);
  }

  // Both spellings: "a b" and ["a", "b"].
  Result<void> ReadMerges(const HfJson& merges) {
    const auto broken = [](std::size_t i) {
      return Fail(ErrorCode::kBadFile, "model.merges", "of tokenizer.json: number ", i, " is not two tokens of the vocabulary");
    };
    float rank = 0;
    for (std::size_t i = 0; i < merges.size(); ++i) {
      std::string left, right;
      if (merges[i].is_string()) {
        const std::string& text = merges[i].get_ref<const std::string&>();
        const std::size_t space = text.find(' ');
        if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) return broken(i);
        left = text.substr(0, space);
        right = text.substr(space + 1);
      } else if (merges[i].is_array() && merges[i].size() == 2 && merges[i][0].is_string() && merges[i][1].is_string()) {
        left = merges[i][0].get<std::string>();
        right = merges[i][1].get<std::string>();
      } else {
        return broken(i);
      }
      const auto joined = id_of_.find(left + right);
      if (joined == id_of_.end() || !id_of_.contains(left) || !id_of_.contains(right)) return broken(i);
      if (IsPieces()) {
        // The earlier a piece is made, the higher its score: what SentencePiece's merging goes by.
        float& score = scores_[joined->second];
        if (score == 0) score = -(++rank);
      } else {
        merges_.push_back(left + " " + right);
      }
    }
    // Pieces that nothing makes are never chosen by score; they stand behind all others.
    for (std::size_t i = 0; IsPieces() && i < tokens_.size(); ++i) {
      if (types_[i] == kNormal && scores_[i] == 0) scores_[i] = -(rank + 1);
    }
    return {};
  }

  static bool PrependsSpace(const HfJson& json) {
    for (const HfJson* step : Steps(Member(json, "normalizer"), "normalizers")) {
      if (TextOf(*step, "type") == "Prepend" && TextOf(*step, "prepend") == kSpace) return true;
    }
    for (const HfJson* step : Steps(Member(json, "pre_tokenizer"), "pretokenizers")) {
      if (TextOf(*step, "type") != "Metaspace") continue;
      const std::string scheme = TextOf(*step, "prepend_scheme");
      return scheme.empty() ? IsTrue(*step, "add_prefix_space") : scheme != "never";
    }
    return false;
  }

  Result<void> ReadSentencePiece() {
    constexpr std::string_view kFile = "tokenizer.model";
    INLAY_ASSIGN_OR_RETURN(const std::string bytes, ReadTextFile(folder_.File(kFile)));
    const auto broken = [&] { return Fail(ErrorCode::kBadFile, kFile, "is not a SentencePiece model"); };
    ProtoReader file(bytes);
    ProtoReader::Field field, inner;
    std::uint64_t id = 0, algorithm = 1;
    bool space_prefix = true;
    while (!file.done()) {
      if (!file.Next(field)) return broken();
      ProtoReader message(field.bytes);
      if (field.number == 1) {
        std::string text;
        float score = 0;
        std::uint64_t type = kNormal;
        while (!message.done()) {
          if (!message.Next(inner)) return broken();
          if (inner.number == 1) text = inner.bytes;
          if (inner.number == 2) std::memcpy(&score, &inner.integer, sizeof(score));
          if (inner.number == 3) type = inner.integer;
        }
        if (type < kNormal || type > kByte || text.empty()) return broken();
        INLAY_CHECK_OK(Place(id++, text, score, static_cast<TokenType>(type), kFile));
      } else if (field.number == 2 || field.number == 3) {
        while (!message.done()) {
          if (!message.Next(inner)) return broken();
          if (inner.number == 3 && field.number == 2) algorithm = inner.integer;
          if (inner.number == 3 && field.number == 3) space_prefix = inner.integer != 0;
        }
      }
    }
    if (id == 0) return broken();
    if (algorithm != 2) {
      return Fail(ErrorCode::kUnsupported, kFile, "is of the algorithm ", algorithm, "; BPE (2) is converted");
    }
    algorithm_ = Algorithm::kPieces;
    metadata_.Put("tokenizer.ggml.model", "llama");
    metadata_.Put("tokenizer.ggml.pre", "default");
    metadata_.Put("tokenizer.ggml.add_space_prefix", space_prefix);
    return {};
  }

  // Tokens that are looked for in a text before anything else.
  Result<void> ReadAddedTokens(const HfJson& json) {
    if (const HfJson* const added = Member(json, "added_tokens"); added != nullptr && added->is_array()) {
      for (const HfJson& token : *added) {
        const HfJson* const id = Member(token, "id");
        if (id == nullptr || !id->is_number_unsigned()) return Fail(ErrorCode::kBadFile, "added_tokens", "of tokenizer.json: one has no id");
        INLAY_CHECK_OK(Add(id->get<std::uint64_t>(), token, "tokenizer.json"));
      }
      return {};
    }
    if (const HfJson* const added = Member(settings_, "added_tokens_decoder"); added != nullptr && added->is_object()) {
      for (const auto& [id, token] : added->items()) {
        if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != std::string::npos) {
          return Fail(ErrorCode::kBadFile, "added_tokens_decoder", "of tokenizer_config.json: \"", id, "\" is no id");
        }
        INLAY_CHECK_OK(Add(std::stoul(id), token, "tokenizer_config.json"));
      }
    }
    return {};
  }

  Result<void> Add(std::uint64_t id, const HfJson& token, std::string_view file) {
    std::string text = TextOf(token, "content");
    if (text.empty()) return Fail(ErrorCode::kBadFile, file, "the added token ", id, " has no content");
    if (id >= tokens_.size()) {
      return Fail(ErrorCode::kMismatch, file, "token ", id, " is beyond the model's ", tokens_.size(), " tokens");
    }
    const bool special = IsTrue(token, "special");
    const std::size_t at = static_cast<std::size_t>(id);
    // What a vocabulary says of its own unknown and control tokens stands.
    if (types_[at] == kUnknown || types_[at] == kControl || types_[at] == kByte) return {};
    id_of_.insert_or_assign(text, at);
    if (!special && HasScores()) {
      for (std::size_t space = text.find(kSpace); space != std::string::npos; space = text.find(kSpace, space)) {
        text.replace(space, kSpace.size(), " ");
      }
    }
    tokens_[at] = std::move(text);
    if (algorithm_ != Algorithm::kUnigram || types_[at] == kAbsent) scores_[at] = -1000.0f;
    types_[at] = special ? kControl : kUserDefined;
    return {};
  }

  // Ids that no token has: rows that fill up the embedding table.
  void FillGaps() {
    for (std::size_t i = 0; i < tokens_.size(); ++i) {
      if (types_[i] != kAbsent) continue;
      tokens_[i] = "[PAD" + std::to_string(i) + "]";
      scores_[i] = -10000.0f;
      types_[i] = kUnused;
    }
  }

  // The id of "bos_token" and the like: by its text in tokenizer_config.json, else by number in config.json.
  Result<std::optional<std::uint32_t>> SpecialToken(const std::string& name) const {
    if (const HfJson* const token = Member(settings_, (name + "_token").c_str())) {
      const std::string text = token->is_string() ? token->get<std::string>() : TextOf(*token, "content");
      const auto found = id_of_.find(text);
      if (found != id_of_.end()) return std::optional<std::uint32_t>(static_cast<std::uint32_t>(found->second));
    }
    const HfJson* id = Member(folder_.config(), (name + "_token_id").c_str());
    if (id != nullptr && id->is_array()) id = id->empty() ? nullptr : &(*id)[0];
    if (id == nullptr) return std::optional<std::uint32_t>();
    if (!id->is_number_unsigned() || id->get<std::uint64_t>() >= tokens_.size()) {
      return Fail(ErrorCode::kMismatch, name + "_token_id", "of config.json is not the id of a token");
    }
    return std::optional<std::uint32_t>(id->get<std::uint32_t>());
  }

  // BERT's spelling: "[CLS]".
  std::optional<std::uint32_t> UsualSpecialToken(std::string_view name) const {
    std::string text = "[";
    for (const char c : name) text += static_cast<char>(c - 'a' + 'A');
    const auto found = id_of_.find(text + "]");
    return found == id_of_.end() ? std::nullopt : std::optional(static_cast<std::uint32_t>(found->second));
  }

  Result<void> PutSpecialTokens(const HfJson& json) {
    std::optional<std::uint32_t> bos, eos, separator;
    for (const auto& [name, key, out] : {std::tuple{"bos", "bos", &bos}, {"eos", "eos", &eos}, {"unk", "unknown", nullptr},
                                         {"pad", "padding", nullptr}, {"sep", "seperator", &separator}, {"mask", "mask", nullptr},
                                         {"cls", "cls", nullptr}}) {
      // Only BERT's files have the last.
      if (std::string_view(name) == "cls" && algorithm_ != Algorithm::kWordPiece) continue;
      INLAY_ASSIGN_OR_RETURN(std::optional<std::uint32_t> id, SpecialToken(name));
      if (!id && std::string_view(name) == "unk") id = unknown_;
      if (!id && algorithm_ == Algorithm::kWordPiece) id = UsualSpecialToken(name);
      if (id) metadata_.Put("tokenizer.ggml." + std::string(key) + "_token_id", *id);
      if (out != nullptr) *out = id;
    }
    // Several ids that end a generation: the last of them that is not the end of the sequence ends a turn.
    INLAY_ASSIGN_OR_RETURN(const std::optional<HfJson> generation, folder_.OptionalJson("generation_config.json"));
    const HfJson* const ends = generation ? Member(*generation, "eos_token_id") : nullptr;
    for (std::size_t i = ends != nullptr && ends->is_array() ? ends->size() : 0; i-- > 0;) {
      const HfJson& id = (*ends)[i];
      if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= tokens_.size() || (eos && id.get<std::uint64_t>() == *eos)) continue;
      metadata_.Put("tokenizer.ggml.eot_token_id", id.get<std::uint32_t>());
      break;
    }
    if (algorithm_ == Algorithm::kWordPiece) return {};  // which always puts its tokens around texts and pairs
    bool add_bos = false, add_eos = false, add_separator = false;
    for (const HfJson* step : Steps(Member(json, "post_processor"), "processors")) {
      if (TextOf(*step, "type") == "RobertaProcessing") add_bos = add_eos = add_separator = true;
      const HfJson* const single = TextOf(*step, "type") == "TemplateProcessing" ? Member(*step, "single") : nullptr;
      if (single == nullptr || !single->is_array() || single->empty()) continue;
      const auto is_token = [&](const HfJson& part, const std::optional<std::uint32_t>& id) {
        const HfJson* const special = Member(part, "SpecialToken");
        const auto found = special == nullptr ? id_of_.end() : id_of_.find(TextOf(*special, "id"));
        return id && found != id_of_.end() && found->second == *id;
      };
      add_bos = is_token(single->front(), bos);
      add_eos = single->size() > 1 && is_token(single->back(), eos);
      add_separator = SeparatorsOf(*step) > (add_eos ? 1 : 0);
    }
    // A model file says nothing about it; its users put the beginning of sequence there.
    if (IsPieces() && Member(json, "post_processor") == nullptr) add_bos = true;
    if (const HfJson* const set = Member(settings_, "add_bos_token"); set != nullptr && set->is_boolean()) add_bos = set->get<bool>();
    if (const HfJson* const set = Member(settings_, "add_eos_token"); set != nullptr && set->is_boolean()) add_eos = set->get<bool>();
    metadata_.Put("tokenizer.ggml.add_bos_token", add_bos);
    metadata_.Put("tokenizer.ggml.add_eos_token", add_eos);
    if (add_separator && separator) metadata_.Put("tokenizer.ggml.add_sep_token", true);
    return {};
  }

  // How many tokens a template has between the two texts of a pair.
  static std::size_t SeparatorsOf(const HfJson& step) {
    const HfJson* const pair = Member(step, "pair");
    std::size_t texts = 0, between = 0;
    for (std::size_t i = 0; pair != nullptr && pair->is_array() && i < pair->size(); ++i) {
      const bool text = Member((*pair)[i], "Sequence") != nullptr;
      texts += text ? 1 : 0;
      between += !text && texts == 1 ? 1 : 0;
    }
    return texts == 2 ? between : 0;
  }

  Result<void> PutChatTemplate() {
    const HfJson* templates = Member(settings_, "chat_template");
    std::string text;
    if (std::filesystem::exists(folder_.File("chat_template.jinja"))) {
      INLAY_ASSIGN_OR_RETURN(text, ReadTextFile(folder_.File("chat_template.jinja")));
    } else if (templates != nullptr && templates->is_string()) {
      text = templates->get<std::string>();
    } else if (templates != nullptr && templates->is_array()) {
      for (const HfJson& one : *templates) {
        if (TextOf(one, "name") == "default") text = TextOf(one, "template");
      }
    }
    if (!text.empty()) metadata_.Put("tokenizer.chat_template", text);
    return {};
  }

  const HfFolder& folder_;
  MetadataList& metadata_;
  HfJson settings_ = HfJson::object();  // tokenizer_config.json
  std::vector<std::string> tokens_;
  std::vector<float> scores_;
  std::vector<std::int32_t> types_;
  std::vector<std::string> merges_;
  std::unordered_map<std::string, std::size_t> id_of_;
  Algorithm algorithm_ = Algorithm::kMerges;
  std::optional<std::uint32_t> unknown_;  // what the vocabulary itself calls so
};

}  // namespace

Result<void> PutHfTokenizer(const HfFolder& folder, std::size_t vocab, MetadataList& metadata) {
  return TokenizerReader(folder, vocab, metadata).Read();
}

}  // namespace cli
