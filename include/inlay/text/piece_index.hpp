// Which pieces a text begins with: for the algorithms that try pieces at a place, where Vocabulary::Find can only say
// whether one stretch is a piece.
#ifndef INLAY_TEXT_PIECE_INDEX_HPP_
#define INLAY_TEXT_PIECE_INDEX_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/text/vocab.hpp"

INLAY_BEGIN_NAMESPACE

// The pieces of some tokens in order, each linked to the longest other one that it begins with. What is not greater than
// a text and closest to it is a piece that the text begins with, or continues one: so one search finds the longest, and
// the links give all shorter ones. 16 bytes for a token, where a trie takes a node for each byte.
class PieceIndex {
 public:
  static constexpr std::size_t ArenaBytesFor(std::size_t tokens) { return ArenaBytes<Entry>(tokens); }

  // The tokens for which `is_indexed(id)`; empty pieces are left out. kOutOfMemory.
  template <class Predicate>
  static Result<PieceIndex> Create(const Vocabulary& vocabulary, Predicate is_indexed, Arena& arena) {
    PieceIndex index;
    INLAY_ASSIGN_OR_RETURN(index.entries_, arena.Allocate<Entry>(vocabulary.size(), "piece index"));
    std::size_t count = 0;
    for (TokenId id = 0; vocabulary.Contains(id); ++id) {
      if (vocabulary.PieceSize(id) != 0 && is_indexed(id)) {
        index.entries_[count++] = {KeyOf(vocabulary.Piece(id)), id, kNone};
      }
    }
    index.entries_ = index.entries_.first(count);
    std::sort(index.entries_.begin(), index.entries_.end(), [&](const Entry& a, const Entry& b) {
      return a.key != b.key ? a.key < b.key : vocabulary.Piece(a.id) < vocabulary.Piece(b.id);
    });
    // Between a piece and one that it begins with, all begin with that one too: it is the one before, or a link of it.
    for (std::size_t i = 1; i < count; ++i) {
      const std::string_view piece = vocabulary.Piece(index.entries_[i].id);
      std::int32_t shorter = static_cast<std::int32_t>(i - 1);
      while (shorter != kNone &&
             piece.substr(0, index.SizeOf(vocabulary, shorter)) != index.PieceOf(vocabulary, shorter)) {
        shorter = index.At(shorter).shorter;
      }
      index.entries_[i].shorter = shorter;
    }
    return index;
  }

  // Where one of the pieces is.
  using Position = std::int32_t;
  static constexpr Position kNone = -1;

  // The longest piece that `text`, which is not empty, begins with.
  Position FindLongest(const Vocabulary& vocabulary, std::string_view text) const {
    text = text.substr(0, vocabulary.max_piece_bytes());
    const std::uint64_t key = KeyOf(text);
    const auto after =
        std::upper_bound(entries_.begin(), entries_.end(), text, [&](std::string_view, const Entry& entry) {
          return key != entry.key ? key < entry.key : text < vocabulary.Piece(entry.id);
        });
    Position position = static_cast<Position>(after - entries_.begin()) - 1;
    if (position == kNone) return kNone;
    const std::string_view closest = PieceOf(vocabulary, position);
    const std::size_t common = static_cast<std::size_t>(
        std::mismatch(closest.begin(), closest.end(), text.begin(), text.end()).first - closest.begin());
    while (position != kNone && SizeOf(vocabulary, position) > common) position = At(position).shorter;
    return position;
  }
  // The next shorter one.
  Position Shorter(Position position) const { return At(position).shorter; }
  TokenId IdAt(Position position) const { return At(position).id; }

 private:
  struct Entry {
    std::uint64_t key;  // the first eight bytes, as a number that compares as they do
    TokenId id;
    Position shorter;
  };

  static std::uint64_t KeyOf(std::string_view piece) {
    std::uint64_t key = 0;
    for (std::size_t i = 0; i < 8; ++i) key = key << 8 | (i < piece.size() ? static_cast<std::uint8_t>(piece[i]) : 0u);
    return key;
  }

  const Entry& At(Position position) const { return entries_[static_cast<std::size_t>(position)]; }
  std::string_view PieceOf(const Vocabulary& vocabulary, Position position) const {
    return vocabulary.Piece(At(position).id);
  }
  std::size_t SizeOf(const Vocabulary& vocabulary, Position position) const {
    return vocabulary.PieceSize(At(position).id);
  }

  std::span<Entry> entries_;  // by piece
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_PIECE_INDEX_HPP_
