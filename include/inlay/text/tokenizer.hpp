// Text to tokens and back, whatever the algorithm of the vocabulary: reads vocabularies from files, finds special
// tokens in text, hands the rest to the algorithm.
#ifndef INLAY_TEXT_TOKENIZER_HPP_
#define INLAY_TEXT_TOKENIZER_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/llama2c.hpp"
#include "inlay/text/algorithm.hpp"
#include "inlay/text/byte_mapping.hpp"
#include "inlay/text/byte_pair_encoding.hpp"
#include "inlay/text/sentencepiece_bpe.hpp"
#include "inlay/text/special_tokens.hpp"
#include "inlay/text/token_writer.hpp"
#include "inlay/text/unigram.hpp"
#include "inlay/text/utf8.hpp"
#include "inlay/text/vocab.hpp"
#include "inlay/text/word_cache.hpp"
#include "inlay/text/wordpiece.hpp"

INLAY_BEGIN_NAMESPACE

struct EncodeOptions {
  // Puts the tokens around the text that the model was trained with (beginning, end of sequence), as its file says.
  bool add_special = true;
  // Reads control tokens, as "<|end|>", from the text. Only for text of the program's own: in text of a user they would
  // let the user steer the model. User-defined tokens are read in any case.
  bool parse_special = false;
};

// Immutable: any number of threads may use one. Holds views of the file and of the arena, which must outlive it; small
// and cheap to copy.
//
// Where a type is opened by FromGguf, every algorithm of the library is part of the program. A program that knows its
// model says which it needs, and carries no other's code and tables:
//
//   inlay::Tokenizer::FromGguf<inlay::SentencePieceBpe>(file, arena)
class Tokenizer {
 public:
  // --- opening ---

  // Arena bytes that are enough for a SentencePiece BPE vocabulary of `vocab` tokens. Others have tables of their own:
  // see ArenaBytesFor.
  static constexpr std::size_t MaxArenaBytes(std::size_t vocab) {
    return Vocabulary::MaxArenaBytes(vocab) + ArenaBytes<SentencePieceBpe>(1);
  }
  // Arena bytes that are enough for the vocabulary in `file`; the errors of FromGguf for a file without one.
  template <class... Algorithms>
  static Result<std::size_t> ArenaBytesFor(const GgufFile& file) {
    return WithAlgorithm<std::size_t, Algorithms...>(file, [&]<class Algorithm>() -> Result<std::size_t> {
      INLAY_ASSIGN_OR_RETURN(const GgufArray tokens, file.GetArray(kTokensKey, GgufType::kString));
      INLAY_ASSIGN_OR_RETURN(const std::size_t tables, Algorithm::ArenaBytesFor(file));
      return Vocabulary::MaxArenaBytes(static_cast<std::size_t>(tokens.count)) + ArenaBytes<Algorithm>(1) + tables;
    });
  }

  // The vocabulary of a GGUF file, by whichever of the Algorithms reads it (none given: all that the library has).
  // Everything is checked here; the errors name the key and the byte.
  // kMissing: a key that is needed. kUnsupported: an algorithm or pre-tokeniser that this library, or the program, does
  // not have. kMismatch: a key of another type, or arrays of different lengths. kBadFile: no tokens, token types,
  // special ids, byte tokens, equal pieces, merges. kNonFinite: scores. kTooLarge: long pieces. kOutOfMemory: arena.
  template <class... Algorithms>
  static Result<Tokenizer> FromGguf(const GgufFile& file, Arena& arena) {
    return WithAlgorithm<Tokenizer, Algorithms...>(file, [&]<class Algorithm>() -> Result<Tokenizer> {
      INLAY_ASSIGN_OR_RETURN(const TokenizerDefaults defaults, Algorithm::Defaults(file));
      INLAY_ASSIGN_OR_RETURN(Tokenizer tokenizer, ReadVocabulary(file, defaults, arena));
      INLAY_ASSIGN_OR_RETURN(const Algorithm algorithm, Algorithm::Create(file, tokenizer.vocabulary_, arena));
      INLAY_CHECK_OK(tokenizer.SetAlgorithm(algorithm, arena));
      return tokenizer;
    });
  }

  // The vocabulary of llama2.c's tokenizer.bin, which does not say how many tokens it has: `vocab` is the model's
  // number. Token 0 is unknown, 1 begins and 2 ends a sequence; 1 also ends generation. Errors: those of
  // Llama2cTokenizer::Open, and those of FromGguf about tokens.
  static Result<Tokenizer> FromLlama2c(std::span<const std::byte> tokenizer_bin, std::size_t vocab, Arena& arena) {
    INLAY_ASSIGN_OR_RETURN(const Llama2cTokenizer file, Llama2cTokenizer::Open(tokenizer_bin, vocab));
    const std::string_view text(reinterpret_cast<const char*>(tokenizer_bin.data()), tokenizer_bin.size());
    INLAY_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(text, vocab, arena));
    const SpecialTokens special{.bos = 1, .eos = 2, .unknown = 0};
    TokenId id = 0;
    for (const Llama2cPiece piece : file) {
      TokenAttributes attributes = InferAttributes(id, piece.text, special);
      if (id == special.bos) attributes |= kTokenEndsGeneration;
      const std::uint64_t offset = static_cast<std::uint64_t>(piece.text.data() - text.data());
      INLAY_CHECK_OK(vocabulary.Add(piece.text, piece.score, attributes, offset));
      ++id;
    }
    INLAY_CHECK_OK(vocabulary.Finish(special, " ", arena));
    Tokenizer tokenizer(vocabulary, {.add_bos = true, .add_space_prefix = true});
    INLAY_CHECK_OK(tokenizer.SetAlgorithm(SentencePieceBpe(), arena));
    return tokenizer;
  }

  // --- text to tokens ---

  // Scratch bytes with which Encode never fails for a text of `text_bytes`. Less is enough for ordinary text: what
  // EncodeScratchBytes gives for the longest stretch of it without a word border. SentencePieceBpe::ScratchBytes is the
  // same number as a constant, for programs that know their vocabulary.
  std::size_t EncodeScratchBytes(std::size_t text_bytes) const { return calls_->scratch_bytes(algorithm_, text_bytes); }
  // No text of `text_bytes` has more tokens.
  std::size_t MaxTokens(std::size_t text_bytes) const {
    return calls_->max_tokens(algorithm_, text_bytes) + kMostAddedTokens;
  }
  // What MaxTokens adds to the algorithm's number: the tokens before and after a text.
  static constexpr std::size_t kMostAddedTokens = 2;

  // The tokens of `text` (any bytes: NUL is a character; what becomes of invalid UTF-8 is the algorithm's); returns
  // their number. Ids are those of llama.cpp, except where special tokens overlap in the text: the one that starts first
  // wins, not the longest; and where the algorithms say so. kTooLarge: `out` is too small; the error says how many
  // tokens there are, and `out` holds the first of them. kOutOfMemory: `scratch` is too small. kMissing: the vocabulary
  // cannot spell the text.
  // Time as the algorithm's, constant stack, no allocation.
  Result<std::size_t> Encode(std::string_view text, const EncodeOptions& options, std::span<std::byte> scratch,
                             std::span<TokenId> out) const {
    TokenWriter writer(out);
    WordCache cache(text, scratch);
    if (options.add_special && traits_.add_bos) writer.Push(vocabulary_.special().bos);
    for (std::size_t at = 0; at < text.size();) {
      const Vocabulary::Match match = vocabulary_.FindSpecial(text, at, options.parse_special);
      const TokenAttributes attributes = match.id == kNoToken ? TokenAttributes{0} : vocabulary_.Attributes(match.id);
      std::size_t end = std::min(match.start, text.size());
      const std::size_t next = end;
      if ((attributes & kTokenStripsLeft) != 0) {
        while (end > at && IsWhiteSpace(text[end - 1])) --end;
      }
      if (end > at) {
        // What stands between special tokens begins like a text of its own.
        const EncodeTask task = {text.substr(at, end - at), at, traits_.add_space_prefix, cache, writer};
        INLAY_CHECK_OK(calls_->encode(algorithm_, vocabulary_, task));
      }
      at = next;
      if (match.id == kNoToken) continue;
      writer.Push(match.id);
      at += vocabulary_.PieceSize(match.id);
      if ((attributes & kTokenStripsRight) != 0) {
        while (at < text.size() && IsWhiteSpace(text[at])) ++at;
      }
    }
    if (options.add_special && traits_.ends_with_separator) writer.Push(vocabulary_.special().separator);
    if (options.add_special && traits_.add_eos) writer.Push(vocabulary_.special().eos);
    if (writer.overflowed()) {
      return Fail(ErrorCode::kTooLarge, "text", "has ", writer.count(), " tokens, there is room for ", out.size());
    }
    return writer.count();
  }

  // --- tokens to text ---

  // Writes the bytes of one token to `out` and returns their number, as llama.cpp's token_to_piece does: a byte token
  // is its byte, a mapped byte the byte it stands for, U+2581 becomes a space; control and unknown tokens are nothing
  // (but those that mark channels), or their piece with `special`; unused ones are nothing. The bytes may be part of a
  // character: see Detokenizer for a stream of text.
  // kInvalidArgument: no such token. kTooLarge: `out` is too small (max_piece_bytes() is always enough).
  Result<std::size_t> Decode(TokenId id, std::span<char> out, bool special = false) const {
    if (!vocabulary_.Contains(id)) {
      return Fail(ErrorCode::kInvalidArgument, "token", "id ", id, " in a vocabulary of ", size(), " tokens");
    }
    const TokenAttributes attributes = vocabulary_.Attributes(id);
    const std::string_view piece = vocabulary_.Piece(id);
    std::size_t count = 0;
    const auto put = [&](std::string_view bytes) {
      if (count + bytes.size() <= out.size()) bytes.copy(out.data() + count, bytes.size());
      count += bytes.size();
    };
    if ((attributes & (kTokenControl | kTokenUnknown)) != 0) {
      if (special || (attributes & kTokenAlwaysShown) != 0) put(piece);
    } else if ((attributes & kTokenUserDefined) != 0) {
      put(piece);
    } else if ((attributes & kTokenByte) != 0) {
      const char byte = static_cast<char>(Vocabulary::ByteValue(piece));
      put({&byte, 1});
    } else if ((attributes & kTokenNormal) != 0 && traits_.spelling == PieceSpelling::kMappedBytes) {
      for (std::size_t at = 0; at < piece.size();) {
        const Utf8Character character = DecodeUtf8(piece.substr(at));
        const int value = character.valid ? ByteOfCharacter(character.code_point) : -1;
        const char byte = static_cast<char>(value);
        // A character that stands for no byte: some vocabularies have pieces that are plain text.
        put(value >= 0 ? std::string_view(&byte, 1) : piece.substr(at, character.size));
        at += character.size;
      }
    } else if ((attributes & kTokenNormal) != 0) {
      const std::string_view space = vocabulary_.space();
      for (std::size_t at = 0; at < piece.size();) {
        const std::size_t next = std::min(piece.find(space, at), piece.size());
        put(piece.substr(at, next - at));
        if (next != piece.size()) put(" ");
        at = next + space.size();
      }
    }
    if (count > out.size()) {
      return Fail(ErrorCode::kTooLarge, "token", "id ", id, " has ", count, " bytes, there is room for ", out.size());
    }
    return count;
  }

  // The most bytes that Decode writes.
  std::size_t max_piece_bytes() const { return std::max<std::size_t>(vocabulary_.max_piece_bytes(), 1); }
  // The piece as the file writes it; empty when there is no such token.
  std::string_view RawPiece(TokenId id) const {
    return vocabulary_.Contains(id) ? vocabulary_.Piece(id) : std::string_view();
  }

  // --- facts ---

  TokenizerModel model() const { return calls_->model; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::size_t size() const { return vocabulary_.size(); }
  const SpecialTokens& special() const { return vocabulary_.special(); }
  TokenId bos() const { return special().bos; }
  TokenId eos() const { return special().eos; }
  // True for every token after which a model has finished (end of sequence, turn or message). False for no token.
  bool EndsGeneration(TokenId id) const {
    return vocabulary_.Contains(id) && (vocabulary_.Attributes(id) & kTokenEndsGeneration) != 0;
  }
  bool add_bos() const { return traits_.add_bos; }
  bool add_eos() const { return traits_.add_eos; }
  // Whether a separator stands between, or after, the texts of a pair; where Encode ends a text with one, that too.
  bool add_separator() const { return traits_.add_separator; }
  // Whether Encode ends a text with a separator, which a pair then has behind each of its texts.
  bool ends_with_separator() const { return traits_.ends_with_separator; }
  bool add_space_prefix() const { return traits_.add_space_prefix; }
  // Whether the model's own tokeniser takes spaces out of whole texts (see clean_spaces.hpp); Decode never does.
  bool cleans_spaces() const { return traits_.cleans_spaces; }

 private:
  static constexpr std::string_view kTokensKey = "tokenizer.ggml.tokens";

  // An algorithm's functions, so that a tokenizer is one type whatever its algorithm, and only those that a program
  // opens are part of it.
  struct Calls {
    TokenizerModel model;
    std::size_t (*scratch_bytes)(const void*, std::size_t);
    std::size_t (*max_tokens)(const void*, std::size_t);
    Result<void> (*encode)(const void*, const Vocabulary&, const EncodeTask&);
  };
  template <class Algorithm>
  static constexpr Calls kCallsOf = {
      Algorithm::kModel,
      [](const void* self, std::size_t bytes) { return static_cast<const Algorithm*>(self)->ScratchBytes(bytes); },
      [](const void* self, std::size_t bytes) { return static_cast<const Algorithm*>(self)->MaxTokens(bytes); },
      [](const void* self, const Vocabulary& vocabulary, const EncodeTask& task) {
        return static_cast<const Algorithm*>(self)->Encode(vocabulary, task);
      }};

  Tokenizer(const Vocabulary& vocabulary, const TokenizerDefaults& traits) : vocabulary_(vocabulary), traits_(traits) {}

  template <class Algorithm>
  Result<void> SetAlgorithm(const Algorithm& algorithm, Arena& arena) {
    static_assert(std::is_trivially_destructible_v<Algorithm>);
    INLAY_ASSIGN_OR_RETURN(const std::span<Algorithm> place, arena.Allocate<Algorithm>(1, "tokenizer"));
    algorithm_ = std::construct_at(place.data(), algorithm);
    calls_ = &kCallsOf<Algorithm>;
    return {};
  }

  // f.operator()<A>() for the first of the algorithms that reads this file.
  template <class T, class... Algorithms, class Function>
  static Result<T> WithAlgorithm(const GgufFile& file, Function f) {
    if constexpr (sizeof...(Algorithms) == 0) {
      return WithAlgorithm<T, SentencePieceBpe, BytePairEncoding, WordPiece, Unigram>(file, f);
    } else {
      constexpr std::string_view kModelKey = "tokenizer.ggml.model";
      INLAY_ASSIGN_OR_RETURN(const std::string_view model, file.GetString(kModelKey));
      Result<T> result = FailAt(ErrorCode::kUnsupported, file.Find(kModelKey)->offset, kModelKey, "\"", model,
                                "\" is not an algorithm of this program; the library has \"llama\" (SentencePiece BPE), "
                                "\"gpt2\" and \"gemma4\" (BPE), \"bert\" (WordPiece) and \"t5\" (unigram)");
      static_cast<void>(
          ((Algorithms::Reads(model) && (result = f.template operator()<Algorithms>(), true)) || ...));
      return result;
    }
  }

  // All but the algorithm.
  static Result<Tokenizer> ReadVocabulary(const GgufFile& file, const TokenizerDefaults& defaults, Arena& arena) {
    INLAY_ASSIGN_OR_RETURN(const GgufArray pieces, file.GetArray(kTokensKey, GgufType::kString));
    const std::size_t count = static_cast<std::size_t>(pieces.count);
    const std::string_view text(reinterpret_cast<const char*>(pieces.bytes.data()), pieces.bytes.size());
    INLAY_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(text, count, arena));
    std::optional<GgufArray> scores;
    if (defaults.needs_scores || file.Find("tokenizer.ggml.scores")) {
      INLAY_ASSIGN_OR_RETURN(scores, file.GetArray("tokenizer.ggml.scores", GgufType::kF32));
      INLAY_CHECK_OK(CheckCount("tokenizer.ggml.scores", *scores, count));
    }
    INLAY_ASSIGN_OR_RETURN(SpecialTokens special, detail::ReadSpecialTokens(file, defaults, count));
    std::optional<GgufArray> types;
    if (file.Find("tokenizer.ggml.token_type")) {
      INLAY_ASSIGN_OR_RETURN(types, file.GetArray("tokenizer.ggml.token_type", GgufType::kI32));
      INLAY_CHECK_OK(CheckCount("tokenizer.ggml.token_type", *types, count));
    }

    std::size_t id = 0;
    for (const std::string_view piece : pieces.strings()) {
      const std::uint64_t offset = pieces.offset + static_cast<std::uint64_t>(piece.data() - text.data());
      TokenAttributes attributes = InferAttributes(static_cast<TokenId>(id), piece, special);
      if (types) {
        INLAY_ASSIGN_OR_RETURN(attributes, AttributesOfType(*types, id));
      }
      INLAY_CHECK_OK(vocabulary.Add(piece, scores ? scores->at<float>(id) : 0.0f, attributes, offset));
      ++id;
    }
    INLAY_CHECK_OK(detail::SpecialTokenRules::Apply(file, special, vocabulary));
    const bool is_text = defaults.spelling == PieceSpelling::kSpaceMarks;
    INLAY_CHECK_OK(vocabulary.Finish(special, is_text ? kSpaceMark : std::string_view(), arena));

    Tokenizer tokenizer(vocabulary, defaults);
    INLAY_CHECK_OK(tokenizer.ReadFlags(file));
    return tokenizer;
  }

  // The flags of the file, and whether the tokens are there that they need.
  Result<void> ReadFlags(const GgufFile& file) {
    const SpecialTokens& special = vocabulary_.special();
    const struct {
      std::string_view key;
      bool& flag;
      TokenId id;
      std::string_view id_key;
    } adds[] = {
        {"tokenizer.ggml.add_bos_token", traits_.add_bos, special.bos, "tokenizer.ggml.bos_token_id"},
        {"tokenizer.ggml.add_eos_token", traits_.add_eos, special.eos, "tokenizer.ggml.eos_token_id"},
        {"tokenizer.ggml.add_sep_token", traits_.add_separator, special.separator, "tokenizer.ggml.seperator_token_id"},
    };
    for (const auto& add : adds) {
      INLAY_ASSIGN_OR_RETURN(add.flag, ReadFlag(file, add.key, add.flag && add.id != kNoToken));
      if (add.flag && add.id == kNoToken) {
        return Fail(ErrorCode::kMissing, add.id_key, "needed, as ", add.key, " is true");
      }
    }
    if (traits_.always_add_bos) {
      if (special.bos == kNoToken) {
        return Fail(ErrorCode::kMissing, "tokenizer.ggml.bos_token_id", "needed: every text begins with it");
      }
      traits_.add_bos = true;
    }
    if (traits_.ends_with_separator) {
      if (special.separator == kNoToken) {
        return Fail(ErrorCode::kMissing, "tokenizer.ggml.seperator_token_id", "needed: every text ends with it");
      }
      traits_.add_eos = false;
    }
    INLAY_ASSIGN_OR_RETURN(traits_.add_space_prefix,
                           ReadFlag(file, "tokenizer.ggml.add_space_prefix", traits_.add_space_prefix));
    return {};
  }

  static constexpr bool IsWhiteSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

  static Result<void> CheckCount(std::string_view key, const GgufArray& array, std::size_t count) {
    if (array.count == count) return {};
    return FailAt(ErrorCode::kMismatch, array.offset, key, "has ", array.count, " elements for ", count, " tokens");
  }

  // GGUF's tokenizer.ggml.token_type; 0 is undefined.
  static Result<TokenAttributes> AttributesOfType(const GgufArray& types, std::size_t id) {
    constexpr std::array<TokenAttributes, 7> kOfType = {
        0, kTokenNormal, kTokenUnknown, kTokenControl, kTokenUserDefined, kTokenUnused, kTokenByte};
    const std::int32_t type = types.at<std::int32_t>(id);
    if (type < 0 || static_cast<std::size_t>(type) >= kOfType.size()) {
      return FailAt(ErrorCode::kBadFile, types.offset + id * sizeof(type), "tokenizer.ggml.token_type", "type ", type,
                    " of token ", id, " is not one of 0 to 6");
    }
    return kOfType[static_cast<std::size_t>(type)];
  }

  // For files that do not say.
  static TokenAttributes InferAttributes(TokenId id, std::string_view piece, const SpecialTokens& special) {
    if (id == special.unknown) return kTokenUnknown;
    if (id == special.bos || id == special.eos) return kTokenControl;
    return Vocabulary::ByteValue(piece) >= 0 ? kTokenByte : kTokenNormal;
  }

  static Result<bool> ReadFlag(const GgufFile& file, std::string_view key, bool fallback) {
    const std::optional<GgufValue> value = file.Find(key);
    if (!value) return fallback;
    return value->AsBool();
  }

  Vocabulary vocabulary_;
  TokenizerDefaults traits_;  // those of the file, where it has any
  const void* algorithm_ = nullptr;
  const Calls* calls_ = nullptr;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_TOKENIZER_HPP_
