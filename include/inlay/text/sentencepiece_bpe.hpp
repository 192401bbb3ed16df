// SentencePiece's byte-pair encoding ("llama" in GGUF files, "SPM" in llama.cpp): of all neighbours whose joined
// spelling is a piece, the pair with the best score is joined first, until no pair is left. What remains unspelled
// becomes bytes. Source: Kudo and Richardson, "SentencePiece", 2018; ids as llama.cpp computes them.
#ifndef INLAY_TEXT_SENTENCEPIECE_BPE_HPP_
#define INLAY_TEXT_SENTENCEPIECE_BPE_HPP_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/text/token_writer.hpp"
#include "inlay/text/utf8.hpp"
#include "inlay/text/vocab.hpp"

INLAY_BEGIN_NAMESPACE

// Tokenises text that has no special tokens in it. Time O(n log n) in the longest stretch without a word border, linear
// beyond that; constant stack; memory from the caller.
class SentencePieceBpe {
 public:
  // Scratch bytes that are enough for every text of `text_bytes`. A text of ordinary words needs only what its longest
  // word needs.
  static constexpr std::size_t ScratchBytes(std::size_t text_bytes) {
    return (text_bytes + 1) * kBytesPerSymbol + alignof(Pair);
  }

  // Appends the tokens of `text` to `out`. `space_prefix`: as if the text began with one more space. `offset` is added
  // to the places that errors name.
  // Bytes that are no valid UTF-8, and characters without a piece, become byte tokens, so that nothing is lost; without
  // byte tokens, a valid character becomes the unknown token.
  // kMissing: a character has neither piece nor bytes nor unknown token. kOutOfMemory: scratch too small. kTooLarge: a
  // stretch without a word border of more than 1.4e9 bytes.
  static Result<void> Encode(const Vocabulary& vocabulary, std::string_view text, bool space_prefix, std::size_t offset,
                             std::span<std::byte> scratch, TokenWriter& out) {
    for (std::size_t begin = 0; begin < text.size();) {
      // No token reaches over a word's border (see words_begin_at_spaces), so each word can be encoded by itself: the
      // same ids, with a queue that stays in the cache.
      const std::size_t end = vocabulary.words_begin_at_spaces() ? WordEnd(vocabulary, text, begin) : text.size();
      SentencePieceBpe word(vocabulary);
      INLAY_CHECK_OK(word.Split(text.substr(begin, end - begin), space_prefix && begin == 0, offset + begin, scratch));
      word.Merge();
      INLAY_CHECK_OK(word.Write(offset + begin, out));
      begin = end;
    }
    return {};
  }

 private:
  // A stretch of the word that is one token so far; it ends where the next one starts.
  struct Symbol {
    std::uint32_t start;
    std::int32_t previous;
    std::int32_t next;  // kNone: the last; kMerged: no longer there
    TokenId id;         // kNoToken: a character that was not looked up yet
  };
  // Two neighbours that can become one. Stale when either has changed since: then the sizes do not add up.
  struct Pair {
    std::uint64_t rank;  // the best first: the score above, below it the place, turned round
    std::uint32_t size;
    TokenId id;

    std::int32_t left() const { return static_cast<std::int32_t>(~static_cast<std::uint32_t>(rank)); }
  };
  // The order of merging: the better score, then the place further left. One integer, because the queue's comparisons
  // are most of the work; a type, because a function's address is not inlined.
  struct Worse {
    bool operator()(const Pair& a, const Pair& b) const { return a.rank < b.rank; }
  };
  static std::uint64_t Rank(float score, std::int32_t left) {
    std::uint32_t bits = std::bit_cast<std::uint32_t>(score);
    if (bits == 0x80000000u) bits = 0;  // both zeros are one score
    const std::uint32_t ordered = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    return std::uint64_t{ordered} << 32 | ~static_cast<std::uint32_t>(left);
  }
  static constexpr std::int32_t kNone = -1;
  static constexpr std::int32_t kMerged = -2;
  // A source byte becomes at most three (an escaped space) and one symbol. The queue starts with fewer pairs than there
  // are symbols, and each of fewer merges takes one pair out and puts two in.
  static constexpr std::size_t kBytesPerSymbol = kSpaceMark.size() + sizeof(Symbol) + 2 * sizeof(Pair);

  explicit SentencePieceBpe(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  // The bytes of a space at text[at]: written plainly, or already as the mark of this vocabulary; 0 when there is none.
  static std::size_t SpaceSize(const Vocabulary& vocabulary, std::string_view text, std::size_t at) {
    if (text[at] == ' ') return 1;
    const std::string_view mark = vocabulary.space();
    return text[at] == mark[0] && text.substr(at, mark.size()) == mark ? mark.size() : 0;
  }

  // Where the word that starts at `begin` ends: it is any number of spaces, then everything up to the next space.
  static std::size_t WordEnd(const Vocabulary& vocabulary, std::string_view text, std::size_t begin) {
    std::size_t at = begin;
    while (at < text.size()) {
      const std::size_t space = SpaceSize(vocabulary, text, at);
      if (space == 0) break;
      at += space;
    }
    while (at < text.size() && SpaceSize(vocabulary, text, at) == 0) ++at;
    return at;
  }

  // Copies the word with its spaces escaped, cuts it into characters and queues all neighbours that make a piece.
  Result<void> Split(std::string_view word, bool space_prefix, std::size_t offset, std::span<std::byte> scratch) {
    if (word.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()) / kSpaceMark.size()) {
      return FailAt(ErrorCode::kTooLarge, offset, "text", word.size(), " bytes without a word border");
    }
    const std::size_t most = word.size() + 1;
    void* memory = scratch.data();
    std::size_t room = scratch.size();
    if (std::align(alignof(Pair), most * kBytesPerSymbol, memory, room) == nullptr) {
      return FailAt(ErrorCode::kOutOfMemory, offset, "scratch", "a stretch of ", word.size(), " bytes needs ",
                    ScratchBytes(word.size()), ", there are ", scratch.size());
    }
    std::byte* next = static_cast<std::byte*>(memory);
    pairs_ = {reinterpret_cast<Pair*>(next), 2 * most};
    next += pairs_.size_bytes();
    symbols_ = {reinterpret_cast<Symbol*>(next), most};
    next += symbols_.size_bytes();
    char* text = reinterpret_cast<char*>(next);

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
    text_ = {text, size};

    std::int32_t count = 0;
    for (std::size_t at = 0; at < size; ++count) {
      symbols_[static_cast<std::size_t>(count)] = {static_cast<std::uint32_t>(at), count - 1, count + 1, kNoToken};
      at += CharacterSize(at);
    }
    symbols_[static_cast<std::size_t>(count - 1)].next = kNone;
    for (std::int32_t left = 0; left + 1 < count; ++left) {
      if (MakePair(left)) ++pair_count_;
    }
    std::make_heap(pairs_.begin(), PairsEnd(), Worse());
    return {};
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

  void Merge() {
    while (pair_count_ != 0) {
      std::pop_heap(pairs_.begin(), PairsEnd(), Worse());
      const Pair pair = pairs_[--pair_count_];
      Symbol& left = At(pair.left());
      if (left.next < 0 || End(left.next) - left.start != pair.size) continue;
      Symbol& right = At(left.next);
      left.id = pair.id;
      left.next = right.next;
      right.next = kMerged;
      if (left.next != kNone) At(left.next).previous = pair.left();
      if (left.previous != kNone) Push(left.previous);
      Push(pair.left());
    }
  }

  Result<void> Write(std::size_t offset, TokenWriter& out) const {
    for (std::int32_t i = 0; i != kNone; i = At(i).next) {
      const std::string_view text = text_.substr(At(i).start, End(i) - At(i).start);
      const TokenId id = At(i).id != kNoToken ? At(i).id : vocabulary_.FindText(text);
      if (id != kNoToken) {
        out.Push(id);
      } else {
        INLAY_CHECK_OK(WriteBytes(text == vocabulary_.space() ? " " : text, offset, out));
      }
    }
    return {};
  }

  Result<void> WriteBytes(std::string_view text, std::size_t offset, TokenWriter& out) const {
    const auto token_of = [this](const char& byte) {
      const TokenId id = vocabulary_.ByteToken(static_cast<std::uint8_t>(byte));
      return id != kNoToken ? id : vocabulary_.FindText({&byte, 1});
    };
    if (std::all_of(text.begin(), text.end(), [&](const char& byte) { return token_of(byte) != kNoToken; })) {
      for (const char& byte : text) out.Push(token_of(byte));
      return {};
    }
    const TokenId unknown = vocabulary_.special().unknown;
    if (unknown == kNoToken || !IsValidUtf8(text)) {
      return FailAt(ErrorCode::kMissing, offset, "text",
                    "the vocabulary has no tokens for bytes, and in the word here is ",
                    unknown == kNoToken ? "a character that it does not know" : "text that is not valid UTF-8");
    }
    out.Push(unknown);
    return {};
  }

  // Writes the pair of `left` and its neighbour behind the queue; false when they are no piece together.
  bool MakePair(std::int32_t left) {
    const Symbol& symbol = At(left);
    const std::uint32_t size = End(symbol.next) - symbol.start;
    const TokenId id = vocabulary_.FindText(text_.substr(symbol.start, size));
    if (id == kNoToken) return false;
    pairs_[pair_count_] = {Rank(vocabulary_.Score(id), left), size, id};
    return true;
  }
  void Push(std::int32_t left) {
    if (At(left).next == kNone || !MakePair(left)) return;
    ++pair_count_;
    std::push_heap(pairs_.begin(), PairsEnd(), Worse());
  }

  Symbol& At(std::int32_t i) { return symbols_[static_cast<std::size_t>(i)]; }
  const Symbol& At(std::int32_t i) const { return symbols_[static_cast<std::size_t>(i)]; }
  std::uint32_t End(std::int32_t i) const {
    const std::int32_t next = At(i).next;
    return next == kNone ? static_cast<std::uint32_t>(text_.size()) : At(next).start;
  }
  std::span<Pair>::iterator PairsEnd() const { return pairs_.begin() + static_cast<std::ptrdiff_t>(pair_count_); }

  const Vocabulary& vocabulary_;
  std::string_view text_;  // the word, escaped
  std::span<Symbol> symbols_;
  std::span<Pair> pairs_;  // a heap of pair_count_, the best in front
  std::size_t pair_count_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_SENTENCEPIECE_BPE_HPP_
