// Byte-pair encoding where pieces are text in which a space is written as a mark: SentencePiece's, and encodings made
// from it. How neighbours join is the algorithm's own; words, escapes and bytes are the same.
#ifndef INLAY_TEXT_SPACED_WORDS_HPP_
#define INLAY_TEXT_SPACED_WORDS_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/text/pair_merging.hpp"
#include "inlay/text/utf8.hpp"
#include "inlay/text/vocab.hpp"
#include "inlay/text/word_cache.hpp"

INLAY_BEGIN_NAMESPACE
namespace detail {

// `Joiner` has, besides PairMerger's Join, SetText(text), which is called with each escaped word, and Start(character),
// the token that a character is before anything joins (kNoToken: to be looked up at the end).
template <class Joiner>
class SpacedWords {
 public:
  static constexpr std::size_t ScratchBytes(std::size_t text_bytes) {
    return (text_bytes + 1) * kBytesPerByte + sizeof(std::uint64_t);
  }

  // Appends the tokens of `text`, a part of the task's, as if a space stood before it with `space_prefix`.
  // Bytes that are no valid UTF-8, and characters without a piece, become byte tokens, so that nothing is lost; without
  // byte tokens, a valid character becomes the unknown token.
  // kMissing: a character has neither piece nor bytes nor unknown token. kOutOfMemory: scratch too small. kTooLarge: a
  // stretch without a word border of more than 7e8 bytes.
  static Result<void> Encode(const Vocabulary& vocabulary, const Joiner& joiner, std::string_view text,
                             bool space_prefix, const EncodeTask& task) {
    SpacedWords words(vocabulary, joiner, task);
    for (std::size_t begin = 0; begin < text.size();) {
      // No token reaches over a word's border (see IsBorderBeforeSpace), so each word can be encoded by itself: the
      // same ids, with a queue that stays in the cache.
      const std::size_t end = WordEnd(vocabulary, text, begin);
      const std::string_view word = text.substr(begin, end - begin);
      const bool prefix = space_prefix && begin == 0;
      if (prefix || !task.cache.Repeat(word, task.out)) {
        const std::size_t first = task.out.count();
        INLAY_CHECK_OK(words.EncodeWord(word, prefix));
        if (!prefix) task.cache.Keep(word, first, task.out);
      }
      begin = end;
    }
    return {};
  }

 private:
  using Merger = PairMerger<Joiner>;
  // A source byte becomes at most three (an escaped space) and one symbol.
  static constexpr std::size_t kBytesPerByte = kSpaceMark.size() + Merger::kBytesPerSymbol;

  SpacedWords(const Vocabulary& vocabulary, const Joiner& joiner, const EncodeTask& task)
      : vocabulary_(vocabulary), joiner_(joiner), task_(task) {}

  // The bytes of a space at text[at]: written plainly, or already as the mark of this vocabulary; 0 when there is none.
  static std::size_t SpaceSize(const Vocabulary& vocabulary, std::string_view text, std::size_t at) {
    if (text[at] == ' ') return 1;
    const std::string_view mark = vocabulary.space();
    return text[at] == mark[0] && text.substr(at, mark.size()) == mark ? mark.size() : 0;
  }

  // Where the word that starts at `begin` ends: it is any number of spaces, then everything up to the next space that
  // can begin a word.
  static std::size_t WordEnd(const Vocabulary& vocabulary, std::string_view text, std::size_t begin) {
    std::size_t at = begin;
    const auto skip_spaces = [&] {
      while (at < text.size()) {
        const std::size_t space = SpaceSize(vocabulary, text, at);
        if (space == 0) break;
        at += space;
      }
    };
    for (;;) {
      skip_spaces();
      while (at < text.size() && SpaceSize(vocabulary, text, at) == 0) ++at;
      if (at == text.size() || vocabulary.IsBorderBeforeSpace(text[at - 1])) return at;
    }
  }

  Result<void> EncodeWord(std::string_view word, bool space_prefix) {
    const std::size_t offset = task_.offset + static_cast<std::size_t>(word.data() - task_.text.data());
    if (word.size() >= Merger::kMaxSymbols / kSpaceMark.size()) {
      return FailAt(ErrorCode::kTooLarge, offset, "text", word.size(), " bytes without a word border");
    }
    const std::size_t most = word.size() + 1;
    const std::span<std::byte> memory = task_.cache.Memory(ScratchBytes(word.size()));
    if (memory.size() < ScratchBytes(word.size())) {
      return FailAt(ErrorCode::kOutOfMemory, offset, "scratch", "a stretch of ", word.size(), " bytes needs ",
                    ScratchBytes(word.size()), ", there are ", memory.size());
    }
    char* const text = reinterpret_cast<char*>(memory.data() + Merger::MemoryBytes(most));
    text_ = {text, Escape(word, space_prefix, text)};
    joiner_.SetText(text_);
    Merger merger(joiner_, memory, most);
    for (std::size_t at = 0; at < text_.size();) {
      const std::size_t size = CharacterSize(at);
      merger.Add(static_cast<std::uint32_t>(at), joiner_.Start(text_.substr(at, size)));
      at += size;
    }
    merger.Merge(static_cast<std::uint32_t>(text_.size()));
    return merger.ForEach([&](std::uint32_t start, std::uint32_t end, TokenId id) -> Result<void> {
      const std::string_view piece = text_.substr(start, end - start);
      if (id == kNoToken) id = vocabulary_.FindText(piece);
      if (id == kNoToken) return WriteBytes(piece == vocabulary_.space() ? " " : piece, offset);
      task_.out.Push(id);
      return {};
    });
  }

  // Copies the word with its spaces as the vocabulary writes them; returns the size.
  std::size_t Escape(std::string_view word, bool space_prefix, char* text) const {
    std::size_t size = 0;
    const std::string_view space = vocabulary_.space();
    if (space_prefix) size += space.copy(text, space.size());
    for (const char c : word) {
      if (c == ' ') {
        size += space.copy(text + size, space.size());
      } else {
        text[size++] = c;
      }
    }
    return size;
  }

  // By the first byte alone, as llama.cpp does it: an invalid sequence takes along bytes that follow. But never a
  // space, which would come back as the bytes of its escape.
  std::size_t CharacterSize(std::size_t at) const {
    const std::size_t size = std::min(Utf8SizeByLead(text_[at]), text_.size() - at);
    for (std::size_t i = 1; i < size; ++i) {
      if (SpaceSize(vocabulary_, text_, at + i) != 0) return i;
    }
    return size;
  }

  Result<void> WriteBytes(std::string_view text, std::size_t offset) const {
    const auto token_of = [this](const char& byte) {
      const TokenId id = vocabulary_.ByteToken(static_cast<std::uint8_t>(byte));
      return id != kNoToken ? id : vocabulary_.FindText({&byte, 1});
    };
    if (std::all_of(text.begin(), text.end(), [&](const char& byte) { return token_of(byte) != kNoToken; })) {
      for (const char& byte : text) task_.out.Push(token_of(byte));
      return {};
    }
    const TokenId unknown = vocabulary_.special().unknown;
    if (unknown == kNoToken || !IsValidUtf8(text)) {
      return FailAt(ErrorCode::kMissing, offset, "text",
                    "the vocabulary has no tokens for bytes, and in the word here is ",
                    unknown == kNoToken ? "a character that it does not know" : "text that is not valid UTF-8");
    }
    task_.out.Push(unknown);
    return {};
  }

  const Vocabulary& vocabulary_;
  Joiner joiner_;
  const EncodeTask& task_;
  std::string_view text_;  // the word, escaped
};

}  // namespace detail
INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_SPACED_WORDS_HPP_
