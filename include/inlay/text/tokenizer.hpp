// Text to tokens and back, whatever the algorithm of the vocabulary: reads vocabularies from files, finds special
// tokens in text, hands the rest to the algorithm.
#ifndef INLAY_TEXT_TOKENIZER_HPP_
#define INLAY_TEXT_TOKENIZER_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/files/llama2c.hpp"
#include "inlay/text/sentencepiece_bpe.hpp"
#include "inlay/text/token_writer.hpp"
#include "inlay/text/vocab.hpp"

INLAY_BEGIN_NAMESPACE

// How a vocabulary cuts text into tokens.
enum class TokenizerModel : std::uint8_t {
  kSentencePieceBpe,
};

struct EncodeOptions {
  // Puts the tokens around the text that the model was trained with (beginning, end of sequence), as its file says.
  bool add_special = true;
  // Reads control tokens, as "<|end|>", from the text. Only for text of the program's own: in text of a user they would
  // let the user steer the model. User-defined tokens are read in any case.
  bool parse_special = false;
};

// Immutable: any number of threads may use one. Holds views of the file and of the arena, which must outlive it; small
// and cheap to copy.
class Tokenizer {
 public:
  // --- opening ---

  // Arena bytes that are enough for a vocabulary of `vocab` tokens.
  static constexpr std::size_t MaxArenaBytes(std::size_t vocab) { return Vocabulary::MaxArenaBytes(vocab); }
  // Arena bytes that are enough for the vocabulary in `file`; the errors of FromGguf for a file without one.
  static Result<std::size_t> ArenaBytesFor(const GgufFile& file) {
    INLAY_ASSIGN_OR_RETURN(const GgufArray tokens, file.GetArray("tokenizer.ggml.tokens", GgufType::kString));
    return MaxArenaBytes(static_cast<std::size_t>(tokens.count));
  }

  // The vocabulary of a GGUF file. Everything is checked here; the errors name the key and the byte.
  // kMissing: a key that is needed. kUnsupported: an algorithm that this library does not have. kMismatch: a key of
  // another type, or arrays of different lengths. kBadFile: no tokens, token types, special ids, byte tokens, equal
  // pieces. kNonFinite: scores. kTooLarge: long pieces. kOutOfMemory: arena.
  static Result<Tokenizer> FromGguf(const GgufFile& file, Arena& arena) {
    INLAY_ASSIGN_OR_RETURN(const std::string_view model, file.GetString("tokenizer.ggml.model"));
    if (model != "llama") {
      return FailAt(ErrorCode::kUnsupported, file.Find("tokenizer.ggml.model")->offset, "tokenizer.ggml.model", "\"",
                    model, "\" is not an algorithm of this version; it has \"llama\" (SentencePiece BPE)");
    }
    INLAY_ASSIGN_OR_RETURN(const GgufArray pieces, file.GetArray("tokenizer.ggml.tokens", GgufType::kString));
    const std::size_t count = static_cast<std::size_t>(pieces.count);
    const std::string_view text(reinterpret_cast<const char*>(pieces.bytes.data()), pieces.bytes.size());
    INLAY_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(text, count, arena));
    INLAY_ASSIGN_OR_RETURN(const GgufArray scores, file.GetArray("tokenizer.ggml.scores", GgufType::kF32));
    INLAY_CHECK_OK(CheckCount("tokenizer.ggml.scores", scores, count));
    INLAY_ASSIGN_OR_RETURN(const SpecialTokens special, ReadSpecialTokens(file, count));
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
      INLAY_CHECK_OK(vocabulary.Add(piece, scores.at<float>(id), attributes, offset));
      ++id;
    }
    return Complete(file, vocabulary, special, arena);
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
    Tokenizer tokenizer(vocabulary);
    tokenizer.add_bos_ = true;
    return tokenizer;
  }

  // --- text to tokens ---

  // Scratch bytes with which Encode never fails for a text of `text_bytes`. Less is enough for ordinary text: what
  // EncodeScratchBytes gives for the longest stretch of it without a word border.
  static constexpr std::size_t EncodeScratchBytes(std::size_t text_bytes) {
    return SentencePieceBpe::ScratchBytes(text_bytes);
  }
  // No text of `text_bytes` has more tokens: a byte is at most one token, and a prefix space is one more token for the
  // beginning and after each special token.
  static constexpr std::size_t MaxTokens(std::size_t text_bytes) { return 2 * text_bytes + 3; }

  // The tokens of `text` (any bytes: NUL is a character, invalid UTF-8 becomes byte tokens); returns their number. Ids
  // are those of llama.cpp, except where special tokens overlap in the text: the one that starts first wins, not the
  // longest. kTooLarge: `out` is too small; the error says how many tokens there are, and `out` holds the first of
  // them. kOutOfMemory: `scratch` is too small. kMissing: the vocabulary cannot spell the text.
  // Time as the algorithm's (see sentencepiece_bpe.hpp), constant stack, no allocation.
  Result<std::size_t> Encode(std::string_view text, const EncodeOptions& options, std::span<std::byte> scratch,
                             std::span<TokenId> out) const {
    TokenWriter writer(out);
    if (options.add_special && add_bos_) writer.Push(vocabulary_.special().bos);
    for (std::size_t at = 0; at < text.size();) {
      const Vocabulary::Match match = vocabulary_.FindSpecial(text, at, options.parse_special);
      const std::size_t end = std::min(match.start, text.size());
      if (end > at) {
        // What stands between special tokens begins like a text of its own.
        INLAY_CHECK_OK(
            SentencePieceBpe::Encode(vocabulary_, text.substr(at, end - at), add_space_prefix_, at, scratch, writer));
      }
      at = end;
      if (match.id == kNoToken) continue;
      writer.Push(match.id);
      at += vocabulary_.PieceSize(match.id);
      if ((vocabulary_.Attributes(match.id) & kTokenStripsRight) != 0) {
        while (at < text.size() && IsWhiteSpace(text[at])) ++at;
      }
    }
    if (options.add_special && add_eos_) writer.Push(vocabulary_.special().eos);
    if (writer.overflowed()) {
      return Fail(ErrorCode::kTooLarge, "text", "has ", writer.count(), " tokens, there is room for ", out.size());
    }
    return writer.count();
  }

  // --- tokens to text ---

  // Writes the bytes of one token to `out` and returns their number, as llama.cpp's token_to_piece does: a byte token
  // is its byte, U+2581 becomes a space; control and unknown tokens are nothing, or their piece with `special`; unused
  // ones are nothing. The bytes may be part of a character: see Detokenizer for a stream of text.
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
      if (special) put(piece);
    } else if ((attributes & kTokenUserDefined) != 0) {
      put(piece);
    } else if ((attributes & kTokenByte) != 0) {
      const char byte = static_cast<char>(Vocabulary::ByteValue(piece));
      put({&byte, 1});
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

  TokenizerModel model() const { return TokenizerModel::kSentencePieceBpe; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::size_t size() const { return vocabulary_.size(); }
  const SpecialTokens& special() const { return vocabulary_.special(); }
  TokenId bos() const { return special().bos; }
  TokenId eos() const { return special().eos; }
  // True for every token after which a model has finished (end of sequence, turn or message). False for no token.
  bool EndsGeneration(TokenId id) const {
    return vocabulary_.Contains(id) && (vocabulary_.Attributes(id) & kTokenEndsGeneration) != 0;
  }
  bool add_bos() const { return add_bos_; }
  bool add_eos() const { return add_eos_; }
  bool add_space_prefix() const { return add_space_prefix_; }

 private:
  explicit Tokenizer(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

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

  // An id in the metadata; `fallback` (if there is such a token) when the key is absent.
  static Result<TokenId> ReadId(const GgufFile& file, std::string_view key, TokenId fallback, std::size_t count) {
    const std::optional<GgufValue> value = file.Find(key);
    if (!value) return static_cast<std::size_t>(fallback) < count ? fallback : kNoToken;
    INLAY_ASSIGN_OR_RETURN(const std::uint64_t id, value->AsUnsigned());
    if (id >= count) {
      return FailAt(ErrorCode::kBadFile, value->offset, key, "is ", id, " in a vocabulary of ", count, " tokens");
    }
    return static_cast<TokenId>(id);
  }

  static Result<SpecialTokens> ReadSpecialTokens(const GgufFile& file, std::size_t count) {
    SpecialTokens special;
    // Defaults of this algorithm, as in the first models that used it.
    INLAY_ASSIGN_OR_RETURN(special.bos, ReadId(file, "tokenizer.ggml.bos_token_id", 1, count));
    INLAY_ASSIGN_OR_RETURN(special.eos, ReadId(file, "tokenizer.ggml.eos_token_id", 2, count));
    INLAY_ASSIGN_OR_RETURN(special.unknown, ReadId(file, "tokenizer.ggml.unknown_token_id", 0, count));
    INLAY_ASSIGN_OR_RETURN(special.eot, ReadId(file, "tokenizer.ggml.eot_token_id", kNoToken, count));
    INLAY_ASSIGN_OR_RETURN(special.eom, ReadId(file, "tokenizer.ggml.eom_token_id", kNoToken, count));
    INLAY_ASSIGN_OR_RETURN(special.separator, ReadId(file, "tokenizer.ggml.seperator_token_id", kNoToken, count));
    INLAY_ASSIGN_OR_RETURN(special.padding, ReadId(file, "tokenizer.ggml.padding_token_id", kNoToken, count));
    INLAY_ASSIGN_OR_RETURN(special.mask, ReadId(file, "tokenizer.ggml.mask_token_id", kNoToken, count));
    return special;
  }

  static Result<bool> ReadFlag(const GgufFile& file, std::string_view key, bool fallback) {
    const std::optional<GgufValue> value = file.Find(key);
    if (!value) return fallback;
    return value->AsBool();
  }

  // A default id is meant only where the token there is one of that kind; no ordinary piece begins sequences.
  static TokenId KeepIfMeant(const GgufFile& file, std::string_view key, TokenId id, const Vocabulary& vocabulary) {
    if (id == kNoToken || file.Find(key)) return id;
    return (vocabulary.Attributes(id) & (kTokenControl | kTokenUnknown)) != 0 ? id : kNoToken;
  }

  // What follows from spellings and names instead of from metadata, then the flags.
  static Result<Tokenizer> Complete(const GgufFile& file, Vocabulary& vocabulary, SpecialTokens special, Arena& arena) {
    special.bos = KeepIfMeant(file, "tokenizer.ggml.bos_token_id", special.bos, vocabulary);
    special.eos = KeepIfMeant(file, "tokenizer.ggml.eos_token_id", special.eos, vocabulary);
    special.unknown = KeepIfMeant(file, "tokenizer.ggml.unknown_token_id", special.unknown, vocabulary);
    // Files seldom list all tokens that end a turn; these spellings do so in every model that has them. llama.cpp takes
    // them for control tokens even where the file does not.
    // clang-format off
    constexpr std::string_view kEndings[] = {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>",
        "[EOT]", "[EOS]", "<end_of_utterance>", "</s>", "<eos>", "<turn|>", "<|tool_response>", "<|eom_id|>",
        "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "[e~["};
    // clang-format on
    constexpr std::size_t kTurnEndings = 9;  // the first of them that exists ends a turn when no key says which does
    for (std::size_t i = 0; i < std::size(kEndings); ++i) {
      const TokenId id = vocabulary.Find(kEndings[i]);
      if (id == kNoToken) continue;
      vocabulary.AddAttributes(id, kTokenControl | kTokenEndsGeneration);
      if (special.eot == kNoToken && i < kTurnEndings) special.eot = id;
    }
    // Phi-3 was trained with the white space after its markers removed; no key says so, only the model's name.
    if (const Result<std::string_view> name = file.GetString("general.name"); name && IsPhi3(*name)) {
      for (TokenId id = 0; vocabulary.Contains(id); ++id) {
        constexpr TokenAttributes kMarkers = kTokenControl | kTokenUnknown | kTokenUserDefined;
        const std::string_view piece = vocabulary.Piece(id);
        const bool keeps = piece == "<unk>" || piece == "<s>" || piece == "<|endoftext|>";
        if ((vocabulary.Attributes(id) & kMarkers) != 0 && !keeps) vocabulary.AddAttributes(id, kTokenStripsRight);
      }
    }
    INLAY_CHECK_OK(vocabulary.Finish(special, kSpaceMark, arena));

    Tokenizer tokenizer(vocabulary);
    INLAY_ASSIGN_OR_RETURN(tokenizer.add_bos_, ReadFlag(file, "tokenizer.ggml.add_bos_token", special.bos != kNoToken));
    INLAY_ASSIGN_OR_RETURN(tokenizer.add_eos_, ReadFlag(file, "tokenizer.ggml.add_eos_token", false));
    INLAY_ASSIGN_OR_RETURN(tokenizer.add_space_prefix_, ReadFlag(file, "tokenizer.ggml.add_space_prefix", true));
    if (tokenizer.add_bos_ && special.bos == kNoToken) {
      return Fail(ErrorCode::kMissing, "tokenizer.ggml.bos_token_id",
                  "needed, as tokenizer.ggml.add_bos_token is true");
    }
    if (tokenizer.add_eos_ && special.eos == kNoToken) {
      return Fail(ErrorCode::kMissing, "tokenizer.ggml.eos_token_id",
                  "needed, as tokenizer.ggml.add_eos_token is true");
    }
    return tokenizer;
  }

  static bool IsPhi3(std::string_view name) {
    const auto contains = [name](std::string_view wanted) {
      return std::search(name.begin(), name.end(), wanted.begin(), wanted.end(), [](char a, char b) {
               return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
             }) != name.end();
    };
    return contains("phi-3") || contains("phi3");
  }

  Vocabulary vocabulary_;
  bool add_bos_ = false;
  bool add_eos_ = false;
  bool add_space_prefix_ = true;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_TOKENIZER_HPP_
