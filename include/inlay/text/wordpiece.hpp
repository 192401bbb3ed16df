// WordPiece ("bert" in GGUF files, "WPM" in llama.cpp): text is cleaned, folded and cut at spaces and punctuation; a word
// becomes the longest piece that it begins with, then the longest that the rest begins with, and so on, or the unknown
// token when some rest begins with none. Source: Devlin et al., "BERT", 2019, and its published code; ids as llama.cpp
// computes them: accents are taken off by the first character of the decomposition, words have no greatest length.
#ifndef INLAY_TEXT_WORDPIECE_HPP_
#define INLAY_TEXT_WORDPIECE_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/text/algorithm.hpp"
#include "inlay/text/piece_index.hpp"
#include "inlay/text/unicode.hpp"
#include "inlay/text/unicode_folding.hpp"
#include "inlay/text/utf8.hpp"
#include "inlay/text/vocab.hpp"
#include "inlay/text/word_cache.hpp"

INLAY_BEGIN_NAMESPACE

// An algorithm (see algorithm.hpp). Words are pieces that begin with a space mark; the others continue one. Control
// characters and bytes that are no valid UTF-8 are left out of the text: these vocabularies cannot spell them, and their
// models never saw any. Time O(n log v) for v pieces, unless pieces begin with many others; constant stack.
class WordPiece {
 public:
  static constexpr TokenizerModel kModel = TokenizerModel::kWordPiece;

  static constexpr bool Reads(std::string_view model) { return model == "bert"; }
  static Result<TokenizerDefaults> Defaults(const GgufFile&) {
    return TokenizerDefaults{.bos = 101,
                             .unknown = 100,
                             .separator = 102,
                             .padding = 0,
                             .mask = 103,
                             .add_bos = true,
                             .always_add_bos = true,
                             .add_separator = true,
                             .ends_with_separator = true,
                             .cleans_spaces = true};
  }
  static Result<std::size_t> ArenaBytesFor(const GgufFile& file) {
    INLAY_ASSIGN_OR_RETURN(const GgufArray tokens, file.GetArray("tokenizer.ggml.tokens", GgufType::kString));
    return PieceIndex::ArenaBytesFor(static_cast<std::size_t>(tokens.count));
  }

  // kMissing: no unknown token. kMismatch: a flag that is none. kOutOfMemory.
  static Result<WordPiece> Create(const GgufFile& file, const Vocabulary& vocabulary, Arena& arena) {
    WordPiece algorithm;
    if (vocabulary.special().unknown == kNoToken) {
      return Fail(ErrorCode::kMissing, "tokenizer.ggml.unknown_token_id", "needed: words without pieces become it");
    }
    if (const auto lower = file.Find("tokenizer.ggml.normalizer.lowercase")) {
      INLAY_ASSIGN_OR_RETURN(algorithm.lower_, lower->AsBool());
    }
    algorithm.strip_accents_ = algorithm.lower_;
    if (const auto strip = file.Find("tokenizer.ggml.normalizer.strip_accents")) {
      INLAY_ASSIGN_OR_RETURN(algorithm.strip_accents_, strip->AsBool());
    }
    const auto is_text = [&](TokenId id) { return vocabulary.IsText(id); };
    INLAY_ASSIGN_OR_RETURN(algorithm.index_, PieceIndex::Create(vocabulary, is_text, arena));
    return algorithm;
  }

  std::size_t ScratchBytes(std::size_t text_bytes) const {
    return MaxFolded(text_bytes) * (sizeof(TokenId) + 1) + alignof(TokenId);
  }
  // A character is at most one token.
  std::size_t MaxTokens(std::size_t text_bytes) const { return text_bytes; }

  // kOutOfMemory: scratch too small.
  Result<void> Encode(const Vocabulary& vocabulary, const EncodeTask& task) const {
    const std::string_view text = task.text;
    for (std::size_t begin = 0; begin < text.size();) {
      Folded c = Fold(text.substr(begin));
      if (c.role == Role::kSpace) {
        begin += c.size;
        continue;
      }
      std::size_t end = begin;
      if (c.role == Role::kAlone) {
        end += c.size;
      } else {
        do {
          end += c.size;
          if (end == text.size()) break;
          c = Fold(text.substr(end));
        } while (c.role == Role::kInWord || c.role == Role::kDropped);
      }
      const std::string_view word = text.substr(begin, end - begin);
      if (!task.cache.Repeat(word, task.out)) {
        const std::size_t first = task.out.count();
        INLAY_CHECK_OK(EncodeWord(vocabulary, word, task.offset + begin, task));
        task.cache.Keep(word, first, task.out);
      }
      begin = end;
    }
    return {};
  }

 private:
  enum class Role : std::uint8_t { kInWord, kAlone, kSpace, kDropped };
  struct Folded {
    char32_t code_point;
    std::uint32_t size;  // in the text
    Role role;
  };

  // The mark, and for two bytes of text at most three: as U+023A, whose small letter is U+2C65, and for three at most
  // four: as U+FA6C, which is U+242EE.
  static constexpr std::size_t MaxFolded(std::size_t word_bytes) {
    return kSpaceMark.size() + word_bytes + word_bytes / 2;
  }

  Folded Fold(std::string_view text) const {
    const Character original = ReadCharacter(text);
    char32_t c = original.code_point;
    CharacterKinds kind = original.kind;
    if (strip_accents_ && c >= 0x80) {
      c = BaseCharacter(c);
      kind = KindOf(c);
    }
    const auto is = [kind](CharacterKinds kinds) { return (kind & kinds) != 0; };
    if (is(kWhiteSpace)) return {c, original.size, Role::kSpace};
    // Bytes that are not valid have been read as U+FFFD.
    if (c == 0 || c == 0xFFFD || is(kControlCharacter) || (strip_accents_ && is(kMark))) {
      return {c, original.size, Role::kDropped};
    }
    const bool alone = is(kPunctuation) || (c < 0x7F && is(kSymbol)) || IsChinese(c);
    return {lower_ ? ToLower(c) : c, original.size, alone ? Role::kAlone : Role::kInWord};
  }

  // The blocks of the published code (U+2B920 is its slip, which the vocabularies were made with).
  static bool IsChinese(char32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
  }

  Result<void> EncodeWord(const Vocabulary& vocabulary, std::string_view word, std::size_t offset,
                          const EncodeTask& task) const {
    const std::size_t most = MaxFolded(word.size());
    const std::span<std::byte> memory = task.cache.Memory(ScratchBytes(word.size()));
    void* start = memory.data();
    std::size_t room = memory.size();
    if (std::align(alignof(TokenId), most * (sizeof(TokenId) + 1), start, room) == nullptr) {
      return FailAt(ErrorCode::kOutOfMemory, offset, "scratch", "a word of ", word.size(), " bytes needs ",
                    ScratchBytes(word.size()), ", there are ", memory.size());
    }
    TokenId* const ids = static_cast<TokenId*>(start);
    char* const folded = reinterpret_cast<char*>(ids + most);
    std::size_t size = kSpaceMark.copy(folded, kSpaceMark.size());
    for (std::size_t at = 0; at < word.size();) {
      const Folded c = Fold(word.substr(at));
      at += c.size;
      if (c.role != Role::kDropped) size += EncodeUtf8(c.code_point, folded + size);
    }
    if (size == kSpaceMark.size()) return {};  // nothing was left of it

    std::size_t count = 0;
    for (std::string_view rest(folded, size); !rest.empty();) {
      const PieceIndex::Position found = index_.FindLongest(vocabulary, rest);
      if (found == PieceIndex::kNone) {
        task.out.Push(vocabulary.special().unknown);
        return {};
      }
      ids[count] = index_.IdAt(found);
      rest.remove_prefix(vocabulary.PieceSize(ids[count]));
      ++count;
    }
    for (std::size_t i = 0; i < count; ++i) task.out.Push(ids[i]);
    return {};
  }

  PieceIndex index_;
  bool lower_ = true;
  bool strip_accents_ = true;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_WORDPIECE_HPP_
