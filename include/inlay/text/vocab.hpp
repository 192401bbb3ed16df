// The vocabulary: what each token is spelled like, what kind it is, and which token a spelling has. Shared by every
// tokenisation algorithm; knows no file format (tokenizer.hpp fills it).
#ifndef INLAY_TEXT_VOCAB_HPP_
#define INLAY_TEXT_VOCAB_HPP_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/text/hash.hpp"

INLAY_BEGIN_NAMESPACE

// What a token is; a token may be several things at once (a set of bits).
using TokenAttributes = std::uint16_t;
inline constexpr TokenAttributes kTokenUnknown = 1;           // stands for text the vocabulary cannot spell
inline constexpr TokenAttributes kTokenUnused = 2;            // reserved by the model's author, prints nothing
inline constexpr TokenAttributes kTokenNormal = 4;            // a piece of text
inline constexpr TokenAttributes kTokenControl = 8;           // steers the model; read from text only when asked to
inline constexpr TokenAttributes kTokenUserDefined = 16;      // found in text before the algorithm sees the rest
inline constexpr TokenAttributes kTokenByte = 32;             // one byte, written <0xHH>
inline constexpr TokenAttributes kTokenStripsRight = 64;      // white space after it in the text belongs to it
inline constexpr TokenAttributes kTokenEndsGeneration = 128;  // the model has finished when it chooses this
inline constexpr TokenAttributes kTokenStripsLeft = 256;      // white space before it in the text belongs to it
inline constexpr TokenAttributes kTokenAlwaysShown = 512;     // a control token that is part of the text that comes out

// The U+2581 that SentencePiece vocabularies write for a space.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

// The ids with a meaning of their own; kNoToken where the vocabulary has none.
struct SpecialTokens {
  TokenId bos = kNoToken;  // begins a sequence
  TokenId eos = kNoToken;  // ends a sequence
  TokenId eot = kNoToken;  // ends a turn of a conversation
  TokenId eom = kNoToken;  // ends a message that expects a tool's answer
  TokenId unknown = kNoToken;
  TokenId separator = kNoToken;
  TokenId padding = kNoToken;
  TokenId mask = kNoToken;
};

// Pieces are views into memory of the caller (usually the mapped file), which must outlive the vocabulary; tables live
// in the arena. Filled once: Create, Add for every id in order, Finish. After that it is immutable and any number of
// threads may read it.
class Vocabulary {
 public:
  // Longer pieces are refused: tables store lengths in 16 bits, and looking a text up costs its length.
  static constexpr std::size_t kMaxPieceBytes = 4096;

  // The arena bytes that Create and Finish take at most, for `count` tokens.
  static constexpr std::size_t MaxArenaBytes(std::size_t count) {
    return ArenaBytes<Entry>(count) + ArenaBytes<Slot>(SlotCount(count)) + ArenaBytes<TokenId>(count);
  }

  // `text` is the memory that all pieces lie in. kBadFile: no tokens. kTooLarge: more than 2^31 - 1 tokens, or more
  // than 4 GiB of text. kOutOfMemory: arena too small.
  static Result<Vocabulary> Create(std::string_view text, std::size_t count, Arena& arena) {
    if (count == 0) return Fail(ErrorCode::kBadFile, "vocabulary", "has no tokens");
    if (count > static_cast<std::size_t>(std::numeric_limits<TokenId>::max())) {
      return Fail(ErrorCode::kTooLarge, "vocabulary", count, " tokens; ids end at 2147483646");
    }
    if (text.size() > std::numeric_limits<std::uint32_t>::max()) {
      return Fail(ErrorCode::kTooLarge, "vocabulary", text.size(), " bytes of pieces; at most 4294967295 are read");
    }
    Vocabulary vocabulary;
    vocabulary.text_ = text;
    INLAY_ASSIGN_OR_RETURN(vocabulary.entries_, arena.Allocate<Entry>(count, "vocabulary"));
    INLAY_ASSIGN_OR_RETURN(vocabulary.slots_, arena.Allocate<Slot>(SlotCount(count), "vocabulary index"));
    std::fill(vocabulary.slots_.begin(), vocabulary.slots_.end(), Slot{});
    vocabulary.bytes_.fill(kNoToken);
    return vocabulary;
  }

  // The next token. `piece` lies within the text given to Create (or is empty); `offset` is where it stands in its
  // file, for errors. A piece with kTokenByte must be written <0xHH>.
  // kTooLarge: piece too long. kNonFinite: score. kBadFile: a malformed or repeated byte token, or a piece that an
  // earlier token has as well.
  Result<void> Add(std::string_view piece, float score, TokenAttributes attributes, std::uint64_t offset) {
    const TokenId id = static_cast<TokenId>(size_);
    if (piece.size() > kMaxPieceBytes) {
      return FailAt(ErrorCode::kTooLarge, offset, "vocabulary", "token ", id, " has ", piece.size(), " bytes; at most ",
                    kMaxPieceBytes, " are allowed");
    }
    if (!IsFinite(score)) {
      return FailAt(ErrorCode::kNonFinite, offset, "vocabulary", "the score of token ", id, " is NaN or infinite");
    }
    if ((attributes & kTokenByte) != 0) {
      const int value = ByteValue(piece);
      if (value < 0) {
        return FailAt(ErrorCode::kBadFile, offset, "vocabulary", "byte token ", id, " is not written <0x00> to <0xFF>");
      }
      TokenId& slot = bytes_[static_cast<std::size_t>(value)];
      if (slot != kNoToken) {
        return FailAt(ErrorCode::kBadFile, offset, "vocabulary", "byte tokens ", slot, " and ", id,
                      " are the same byte");
      }
      slot = id;
    }
    INLAY_ASSERT(size_ < entries_.size());
    const std::size_t start = piece.empty() ? 0 : static_cast<std::size_t>(piece.data() - text_.data());
    entries_[size_++] = {static_cast<std::uint32_t>(start), static_cast<std::uint16_t>(piece.size()), attributes,
                         score};
    max_piece_bytes_ = std::max(max_piece_bytes_, piece.size());
    // An empty piece has an id (files use them as padding) but no text leads to it.
    return piece.empty() ? Result<void>() : Insert(id, offset);
  }

  // Adds attributes, before Finish.
  void AddAttributes(TokenId id, TokenAttributes attributes) {
    TokenAttributes& all = entries_[static_cast<std::size_t>(id)].attributes;
    all = static_cast<TokenAttributes>(all | attributes);
  }

  // And takes some away, before Finish.
  void RemoveAttributes(TokenId id, TokenAttributes attributes) {
    TokenAttributes& all = entries_[static_cast<std::size_t>(id)].attributes;
    all = static_cast<TokenAttributes>(all & ~attributes);
  }

  // Completes the vocabulary: the ids in `special` are checked (kBadFile: not a token, naming it) and the tokens that
  // are found in text before the rest is tokenised are put in order. `space` is how pieces write a space (kSpaceMark,
  // or " "); empty where they are not text (mapped bytes).
  Result<void> Finish(const SpecialTokens& special, std::string_view space, Arena& arena) {
    INLAY_ASSERT(size_ == entries_.size());
    const struct {
      std::string_view name;
      TokenId id;
    } named[] = {{"bos token", special.bos},         {"eos token", special.eos},
                 {"eot token", special.eot},         {"eom token", special.eom},
                 {"unknown token", special.unknown}, {"separator token", special.separator},
                 {"padding token", special.padding}, {"mask token", special.mask}};
    for (const auto& token : named) {
      if (token.id != kNoToken && !Contains(token.id)) {
        return Fail(ErrorCode::kBadFile, token.name, "id ", token.id, " in a vocabulary of ", size_, " tokens");
      }
    }
    special_ = special;
    space_ = space;
    for (const TokenId id : {special.eos, special.eot, special.eom}) {
      if (id != kNoToken) AddAttributes(id, kTokenEndsGeneration);
    }

    std::size_t count = 0;
    for (const Entry& entry : entries_) count += IsMatched(entry) ? 1 : 0;
    INLAY_ASSIGN_OR_RETURN(matched_, arena.Allocate<TokenId>(count, "special tokens"));
    std::size_t next = 0;
    for (std::size_t id = 0; id < size_; ++id) {
      const Entry& entry = entries_[id];
      if (IsMatched(entry)) {
        matched_[next++] = static_cast<TokenId>(id);
        const std::uint8_t first = static_cast<std::uint8_t>(text_[entry.start]);
        (NeedsConsent(entry.attributes) ? consented_starts_ : free_starts_).Set(first);
      }
      if (!space_.empty() && IsText(entry.attributes)) NoteInnerSpaces(PieceOf(entry));
    }
    std::sort(matched_.begin(), matched_.end(), [this](TokenId a, TokenId b) { return Piece(a) < Piece(b); });
    return {};
  }

  std::size_t size() const { return size_; }
  bool Contains(TokenId id) const { return id >= 0 && static_cast<std::size_t>(id) < size_; }
  const SpecialTokens& special() const { return special_; }

  // How pieces write a space.
  std::string_view space() const { return space_; }
  // The longest piece.
  std::size_t max_piece_bytes() const { return max_piece_bytes_; }
  // True when in no piece of text a space comes after this byte: then no token can reach over the border between a word
  // that ends in it and the space that follows.
  bool IsBorderBeforeSpace(char last) const { return !inner_spaces_.Has(static_cast<std::uint8_t>(last)); }

  // As the file writes it. The id must be one of this vocabulary, as in the next three.
  std::string_view Piece(TokenId id) const {
    return PieceOf(entries_[static_cast<std::size_t>(id)]);
  }
  std::size_t PieceSize(TokenId id) const { return entries_[static_cast<std::size_t>(id)].size; }
  float Score(TokenId id) const { return entries_[static_cast<std::size_t>(id)].score; }
  TokenAttributes Attributes(TokenId id) const { return entries_[static_cast<std::size_t>(id)].attributes; }

  // May text become this token by itself? Never control, unknown and byte tokens.
  bool IsText(TokenId id) const { return IsText(Attributes(id)); }

  // The token of a byte; kNoToken where the vocabulary has none.
  TokenId ByteToken(std::uint8_t byte) const { return bytes_[byte]; }
  // The byte that a piece written <0xHH> means; -1 for every other piece.
  static constexpr int ByteValue(std::string_view piece) {
    if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
    int value = 0;
    for (const char c : piece.substr(3, 2)) {
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                               : -1;
      if (digit < 0) return -1;
      value = value * 16 + digit;
    }
    return value;
  }

  // The token spelled exactly `piece`, of any kind; kNoToken when there is none. Constant time in the vocabulary's
  // size.
  TokenId Find(std::string_view piece) const {
    if (piece.empty() || piece.size() > max_piece_bytes_) return kNoToken;
    const std::uint32_t hash = detail::HashText(piece);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
      const Slot slot = slots_[i];
      if (slot.id == kNoToken) return kNoToken;
      if (slot.hash == hash && Piece(slot.id) == piece) return slot.id;
    }
  }

  // The token of a piece of text: as Find, but never one that text must not turn into by itself (control, unknown and
  // byte tokens), so that no spelling of "</s>" in a user's text ends the sequence.
  TokenId FindText(std::string_view piece) const {
    const TokenId id = Find(piece);
    return id != kNoToken && IsText(id) ? id : kNoToken;
  }

  // A special token in text: where, and which.
  struct Match {
    std::size_t start = std::string_view::npos;  // npos: none
    TokenId id = kNoToken;
  };

  // The first place at or after `from` where a user-defined token (with `parse_special`: or a control or unknown one)
  // is spelled; of several that start there, the longest. Linear in the text unless specials share long beginnings.
  Match FindSpecial(std::string_view text, std::size_t from, bool parse_special) const {
    if (matched_.empty()) return {};
    for (std::size_t at = from; at < text.size(); ++at) {
      const std::uint8_t first = static_cast<std::uint8_t>(text[at]);
      if (!free_starts_.Has(first) && !(parse_special && consented_starts_.Has(first))) continue;
      const TokenId id = LongestSpecialAt(text.substr(at), parse_special);
      if (id != kNoToken) return {at, id};
    }
    return {};
  }

 private:
  struct Entry {
    std::uint32_t start;
    std::uint16_t size;
    TokenAttributes attributes;
    float score;
  };
  struct Slot {
    std::uint32_t hash = 0;
    TokenId id = kNoToken;
  };

  class ByteSet {
   public:
    void Set(std::uint8_t byte) { words_[byte >> 6] |= std::uint64_t{1} << (byte & 63); }
    bool Has(std::uint8_t byte) const { return ((words_[byte >> 6] >> (byte & 63)) & 1) != 0; }

   private:
    std::array<std::uint64_t, 4> words_{};
  };

  Vocabulary() = default;

  // No honest table, at most half full, comes near this; a file made to collide is refused instead of being slow.
  static constexpr std::size_t kMaxProbes = 2048;

  static constexpr std::size_t SlotCount(std::size_t count) {
    std::size_t slots = 8;
    while (slots < 2 * count) slots *= 2;
    return slots;
  }

  static constexpr bool NeedsConsent(TokenAttributes attributes) {
    return (attributes & (kTokenControl | kTokenUnknown)) != 0;
  }
  static constexpr bool IsText(TokenAttributes attributes) {
    return (attributes & (kTokenControl | kTokenUnknown | kTokenByte)) == 0;
  }
  static bool IsMatched(const Entry& entry) {
    return entry.size != 0 && (entry.attributes & (kTokenControl | kTokenUnknown | kTokenUserDefined)) != 0;
  }

  std::string_view PieceOf(const Entry& entry) const { return text_.substr(entry.start, entry.size); }

  // The last bytes of what comes before a space that is not one of the first.
  void NoteInnerSpaces(std::string_view piece) {
    std::size_t word = 0;
    while (piece.substr(word, space_.size()) == space_) word += space_.size();
    while ((word = piece.find(space_, word)) != std::string_view::npos) {
      inner_spaces_.Set(static_cast<std::uint8_t>(piece[word - 1]));
      while (piece.substr(word, space_.size()) == space_) word += space_.size();
    }
  }

  // By the bits: std::isfinite means nothing under -ffast-math.
  static bool IsFinite(float value) { return (std::bit_cast<std::uint32_t>(value) & 0x7F800000u) != 0x7F800000u; }

  Result<void> Insert(TokenId id, std::uint64_t offset) {
    const std::string_view piece = Piece(id);
    const std::uint32_t hash = detail::HashText(piece);
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    for (std::size_t probe = 0; probe < kMaxProbes; ++probe, at = (at + 1) & mask) {
      if (slots_[at].id == kNoToken) {
        slots_[at] = {hash, id};
        return {};
      }
      if (slots_[at].hash == hash && Piece(slots_[at].id) == piece) {
        return FailAt(ErrorCode::kBadFile, offset, "vocabulary", "tokens ", slots_[at].id, " and ", id,
                      " have the same piece");
      }
    }
    return FailAt(ErrorCode::kBadFile, offset, "vocabulary", "the pieces up to token ", id, " are made to collide");
  }

  // Narrows the sorted specials byte by byte to those that `text` continues; each that ends on the way is a match.
  TokenId LongestSpecialAt(std::string_view text, bool parse_special) const {
    TokenId longest = kNoToken;
    auto first = matched_.begin();
    auto last = matched_.end();
    for (std::size_t depth = 0; first != last; ++depth) {
      // The shortest come first: one that ends here is alone, as no two pieces are equal.
      if (PieceSize(*first) == depth) {
        if (parse_special || !NeedsConsent(Attributes(*first))) longest = *first;
        ++first;
      }
      if (depth == text.size()) break;
      const std::uint8_t byte = static_cast<std::uint8_t>(text[depth]);
      const auto byte_of = [this, depth](TokenId id) { return static_cast<std::uint8_t>(Piece(id)[depth]); };
      first = std::partition_point(first, last, [&](TokenId id) { return byte_of(id) < byte; });
      last = std::partition_point(first, last, [&](TokenId id) { return byte_of(id) == byte; });
    }
    return longest;
  }

  std::string_view text_;
  std::span<Entry> entries_;    // [size]
  std::span<Slot> slots_;       // open addressing, a power of two, at most half full
  std::span<TokenId> matched_;  // the tokens found in text before the rest is tokenised, by piece
  std::array<TokenId, 256> bytes_{};
  ByteSet free_starts_;       // first bytes of user-defined tokens
  ByteSet consented_starts_;  // first bytes of control and unknown tokens
  ByteSet inner_spaces_;      // see IsBorderBeforeSpace
  std::string_view space_ = kSpaceMark;
  SpecialTokens special_;
  std::size_t size_ = 0;
  std::size_t max_piece_bytes_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_VOCAB_HPP_
