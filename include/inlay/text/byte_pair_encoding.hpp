// Byte-pair encoding by a list of merges ("gpt2" and "gemma4" in GGUF files, "BPE" in llama.cpp): a pre-tokeniser cuts
// the text into words; within a word, the neighbours whose merge stands first in the list are joined first, until none
// are left. Source: Sennrich, Haddow and Birch, "Neural machine translation of rare words with subword units", 2016;
// over bytes: Radford et al., 2019. Ids as llama.cpp computes them, except for bytes that are no valid UTF-8: they keep
// their values here, and become U+FFFD there.
#ifndef INLAY_TEXT_BYTE_PAIR_ENCODING_HPP_
#define INLAY_TEXT_BYTE_PAIR_ENCODING_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/text/algorithm.hpp"
#include "inlay/text/byte_mapping.hpp"
#include "inlay/text/hash.hpp"
#include "inlay/text/pair_merging.hpp"
#include "inlay/text/pre_tokenizer.hpp"
#include "inlay/text/spaced_words.hpp"
#include "inlay/text/utf8.hpp"
#include "inlay/text/vocab.hpp"
#include "inlay/text/word_cache.hpp"

INLAY_BEGIN_NAMESPACE

// The merges of a vocabulary: which two tokens become which, and how early. Finding one is constant time.
class MergeTable {
 public:
  static constexpr std::string_view kKey = "tokenizer.ggml.merges";

  static constexpr std::size_t ArenaBytesFor(std::size_t merges) { return ArenaBytes<Slot>(SlotCount(merges)); }

  // `merges`: strings "LEFT RIGHT" of two pieces. Later repetitions of a merge count for nothing.
  // kBadFile: a string that is not two pieces, a piece or what the two become is no piece of text of the vocabulary, or
  // a table made to be slow. kTooLarge: 2^31 merges or more. kOutOfMemory.
  static Result<MergeTable> Create(const GgufArray& merges, const Vocabulary& vocabulary, Arena& arena) {
    const std::size_t count = static_cast<std::size_t>(merges.count);
    if (merges.count >= std::numeric_limits<std::uint32_t>::max() / 2) {
      return FailAt(ErrorCode::kTooLarge, merges.offset, kKey, "has ", merges.count, " merges");
    }
    MergeTable table;
    INLAY_ASSIGN_OR_RETURN(table.slots_, arena.Allocate<Slot>(SlotCount(count), "merges"));
    std::fill(table.slots_.begin(), table.slots_.end(), Slot{});
    std::uint32_t rank = 0;
    for (const std::string_view merge : merges.strings()) {
      const std::uint64_t offset =
          merges.offset + static_cast<std::uint64_t>(merge.data() - reinterpret_cast<const char*>(merges.bytes.data()));
      // The first piece may itself begin with a space.
      const std::size_t space = merge.find(' ', 1);
      if (merge.empty() || space == std::string_view::npos || space + 1 == merge.size()) {
        return FailAt(ErrorCode::kBadFile, offset, kKey, "merge ", rank,
                      " is not two pieces with a space between them");
      }
      const std::string_view left = merge.substr(0, space);
      const std::string_view right = merge.substr(space + 1);
      char joined[Vocabulary::kMaxPieceBytes];
      TokenId ids[3] = {FindPart(vocabulary, left), FindPart(vocabulary, right), kNoToken};
      if (left.size() + right.size() <= sizeof(joined)) {
        const std::size_t size = left.copy(joined, left.size());
        ids[2] = FindPart(vocabulary, {joined, size + right.copy(joined + size, right.size())});
      }
      constexpr std::string_view kWhich[] = {"the first part", "the second part", "the whole"};
      for (std::size_t i = 0; i < 3; ++i) {
        if (ids[i] == kNoToken) {
          return FailAt(ErrorCode::kBadFile, offset, kKey, kWhich[i], " of merge ", rank,
                        " is no piece of text in the vocabulary");
        }
      }
      if (!table.Insert(ids[0], ids[1], ids[2], rank)) {
        return FailAt(ErrorCode::kBadFile, offset, kKey, "the merges up to ", rank, " are made to collide");
      }
      ++rank;
    }
    return table;
  }

  // The greater order for the earlier merge. No token for two that do not join, or where one is none.
  detail::Joined Find(TokenId left, TokenId right) const {
    const std::uint64_t pair = Pair(left, right);
    for (std::size_t at = Start(pair);; at = Next(at)) {
      const Slot& slot = slots_[at];
      if (slot.pair == pair) return {slot.id, ~slot.rank};
      if (slot.pair == kNoPair) return {};
    }
  }

 private:
  struct Slot {
    std::uint64_t pair = kNoPair;
    std::uint32_t rank = 0;
    TokenId id = kNoToken;
  };
  // Two times no token: never inserted, and finding it finds an empty slot, whose id is none.
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};
  static constexpr std::size_t kMaxProbes = 2048;

  // Text, also where its spelling alone made it a control token: "</s>" is a tag of HTML for those who merge it.
  static TokenId FindPart(const Vocabulary& vocabulary, std::string_view piece) {
    const TokenId id = vocabulary.Find(piece);
    if (id == kNoToken || vocabulary.IsText(id)) return id;
    return (vocabulary.Attributes(id) & kTokenNormal) != 0 ? id : kNoToken;
  }

  // At most two thirds full, and never quite.
  static constexpr std::size_t SlotCount(std::size_t merges) { return merges + merges / 2 + 8; }
  static constexpr std::uint64_t Pair(TokenId left, TokenId right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }
  std::size_t Start(std::uint64_t pair) const {
    return detail::SlotOf(static_cast<std::uint32_t>((detail::FoldHash(pair) * detail::kHashFactor) >> 32),
                          slots_.size());
  }
  std::size_t Next(std::size_t at) const { return at + 1 == slots_.size() ? 0 : at + 1; }

  bool Insert(TokenId left, TokenId right, TokenId id, std::uint32_t rank) {
    const std::uint64_t pair = Pair(left, right);
    std::size_t at = Start(pair);
    for (std::size_t probe = 0; probe < kMaxProbes; ++probe, at = Next(at)) {
      if (slots_[at].pair == pair) return true;
      if (slots_[at].pair == kNoPair) {
        slots_[at] = {pair, rank, id};
        return true;
      }
    }
    return false;
  }

  std::span<Slot> slots_;  // open addressing
};

// An algorithm (see algorithm.hpp). Pieces are mapped bytes, or, where the pre-tokeniser says so, text with marks for
// spaces. Time O(n log n) in the longest word, linear beyond that; constant stack.
class BytePairEncoding {
 public:
  static constexpr TokenizerModel kModel = TokenizerModel::kBytePairEncoding;

  static constexpr bool Reads(std::string_view model) { return model == "gpt2" || model == kGemma4; }

  // kUnsupported: a pre-tokeniser that this library does not know.
  static Result<TokenizerDefaults> Defaults(const GgufFile& file) {
    INLAY_ASSIGN_OR_RETURN(const PreTokenizer* const rules, FindRules(file));
    TokenizerDefaults defaults;
    if (rules->Has(PreTokenizer::kMarksSpaces)) {
      defaults.always_add_bos = rules->Has(PreTokenizer::kAlwaysAddsBos);
    } else {
      defaults.spelling = PieceSpelling::kMappedBytes;
    }
    // Falcon's, whose files were the first of this kind.
    defaults.bos = defaults.eos = 11;
    defaults.add_bos = rules->Has(PreTokenizer::kAddsBos);
    defaults.add_separator = rules->Has(PreTokenizer::kAddsSeparator);
    defaults.cleans_spaces = !rules->Has(PreTokenizer::kKeepsSpaces);
    return defaults;
  }

  static Result<std::size_t> ArenaBytesFor(const GgufFile& file) {
    INLAY_ASSIGN_OR_RETURN(const GgufArray merges, file.GetArray(MergeTable::kKey, GgufType::kString));
    return MergeTable::ArenaBytesFor(static_cast<std::size_t>(merges.count));
  }

  // Errors: those of Defaults and MergeTable::Create; kMissing or kMismatch: no merges.
  static Result<BytePairEncoding> Create(const GgufFile& file, const Vocabulary& vocabulary, Arena& arena) {
    BytePairEncoding encoding;
    INLAY_ASSIGN_OR_RETURN(encoding.rules_, FindRules(file));
    INLAY_ASSIGN_OR_RETURN(const GgufArray merges, file.GetArray(MergeTable::kKey, GgufType::kString));
    INLAY_ASSIGN_OR_RETURN(encoding.merges_, MergeTable::Create(merges, vocabulary, arena));
    for (std::size_t byte = 0; byte < 256; ++byte) {
      char piece[4];
      const std::size_t size = EncodeUtf8(CharacterOfByte(static_cast<std::uint8_t>(byte)), piece);
      encoding.bytes_[byte] = vocabulary.FindText({piece, size});
    }
    return encoding;
  }

  std::size_t ScratchBytes(std::size_t text_bytes) const { return MarkedWords::ScratchBytes(text_bytes); }
  // A byte is at most one token.
  std::size_t MaxTokens(std::size_t text_bytes) const { return 2 * text_bytes + 1; }

  // kMissing: a byte (with marked spaces: a character) that the vocabulary cannot spell. kOutOfMemory: scratch too
  // small. kTooLarge: a word of more than 7e8 bytes.
  Result<void> Encode(const Vocabulary& vocabulary, const EncodeTask& task) const {
    WordSplitter words(*rules_, task.text);
    std::string_view word;
    while (words.Next(word)) {
      INLAY_CHECK_OK(rules_->Has(PreTokenizer::kMarksSpaces) ? EncodeMarked(vocabulary, word, task)
                                                             : EncodeBytes(vocabulary, word, task));
    }
    return {};
  }

 private:
  static constexpr std::string_view kGemma4 = "gemma4";
  static constexpr std::string_view kPreKey = "tokenizer.ggml.pre";

  class BytesJoiner {
   public:
    explicit BytesJoiner(const MergeTable& merges) : merges_(&merges) {}
    detail::Joined Join(const detail::MergeSymbol& left, const detail::MergeSymbol& right, std::uint32_t) const {
      return merges_->Find(left.id, right.id);
    }

   private:
    const MergeTable* merges_;
  };
  class MarkedJoiner : public BytesJoiner {
   public:
    MarkedJoiner(const MergeTable& merges, const Vocabulary& vocabulary)
        : BytesJoiner(merges), vocabulary_(&vocabulary) {}
    void SetText(std::string_view) {}
    TokenId Start(std::string_view character) const { return vocabulary_->FindText(character); }

   private:
    const Vocabulary* vocabulary_;
  };
  using BytesMerger = detail::PairMerger<BytesJoiner>;
  using MarkedWords = detail::SpacedWords<MarkedJoiner>;

  static Result<const PreTokenizer*> FindRules(const GgufFile& file) {
    std::string_view name = "default";
    std::uint64_t offset = Error::kNoOffset;
    if (const auto value = file.Find(kPreKey)) {
      INLAY_ASSIGN_OR_RETURN(name, value->AsString());
      offset = value->offset;
    }
    if (const Result<std::string_view> model = file.GetString("tokenizer.ggml.model"); model && *model == kGemma4) {
      name = kGemma4;
    }
    const PreTokenizer* const rules = PreTokenizer::Find(name);
    if (rules == nullptr) {
      return FailAt(ErrorCode::kUnsupported, offset, kPreKey, "\"", name, "\" is not a pre-tokenizer of this version");
    }
    return rules;
  }

  Result<void> EncodeMarked(const Vocabulary& vocabulary, std::string_view word, const EncodeTask& task) const {
    if (rules_->Has(PreTokenizer::kLineFeedRunsFirst) && word[0] == '\n') {
      const TokenId id = vocabulary.FindText(word);
      if (id != kNoToken) {
        task.out.Push(id);
        return {};
      }
    }
    return MarkedWords::Encode(vocabulary, MarkedJoiner(merges_, vocabulary), word, false, task);
  }

  Result<void> EncodeBytes(const Vocabulary& vocabulary, std::string_view word, const EncodeTask& task) const {
    if (word.size() == 1) return WriteByte(vocabulary, word[0], word, task);
    if (task.cache.Repeat(word, task.out)) return {};
    const std::size_t first = task.out.count();
    const TokenId whole = rules_->Has(PreTokenizer::kWholeWordsFirst) ? FindWhole(vocabulary, word) : kNoToken;
    if (whole != kNoToken) {
      task.out.Push(whole);
    } else {
      INLAY_CHECK_OK(MergeBytes(vocabulary, word, task));
    }
    task.cache.Keep(word, first, task.out);
    return {};
  }

  Result<void> MergeBytes(const Vocabulary& vocabulary, std::string_view word, const EncodeTask& task) const {
    if (word.size() > BytesMerger::kMaxSymbols) {
      return FailAt(ErrorCode::kTooLarge, OffsetOf(word, task), "text", word.size(), " bytes without a word border");
    }
    const std::size_t needed = BytesMerger::MemoryBytes(word.size());
    const std::span<std::byte> memory = task.cache.Memory(needed);
    if (memory.size() < needed) {
      return FailAt(ErrorCode::kOutOfMemory, OffsetOf(word, task), "scratch", "a word of ", word.size(),
                    " bytes needs ", needed, ", there are ", memory.size());
    }
    BytesMerger merger(BytesJoiner(merges_), memory, word.size());
    for (std::size_t i = 0; i < word.size(); ++i) {
      merger.Add(static_cast<std::uint32_t>(i), bytes_[static_cast<std::uint8_t>(word[i])]);
    }
    merger.Merge(static_cast<std::uint32_t>(word.size()));
    return merger.ForEach([&](std::uint32_t start, std::uint32_t, TokenId id) -> Result<void> {
      if (id == kNoToken) return WriteByte(vocabulary, word[start], word, task);
      task.out.Push(id);
      return {};
    });
  }

  // The token that is spelled as the whole word.
  static TokenId FindWhole(const Vocabulary& vocabulary, std::string_view word) {
    if (word.size() > vocabulary.max_piece_bytes()) return kNoToken;
    // A byte's character has at most two bytes.
    char piece[2 * Vocabulary::kMaxPieceBytes + 4];
    std::size_t size = 0;
    for (const char byte : word) size += EncodeUtf8(CharacterOfByte(static_cast<std::uint8_t>(byte)), piece + size);
    return vocabulary.FindText({piece, size});
  }

  Result<void> WriteByte(const Vocabulary& vocabulary, char byte, std::string_view word, const EncodeTask& task) const {
    TokenId id = bytes_[static_cast<std::uint8_t>(byte)];
    if (id == kNoToken) id = vocabulary.special().unknown;
    if (id == kNoToken) {
      return FailAt(ErrorCode::kMissing, OffsetOf(word, task), "text", "the vocabulary has neither a token for byte ",
                    static_cast<unsigned>(static_cast<std::uint8_t>(byte)),
                    ", which is in the word here, nor an unknown token");
    }
    task.out.Push(id);
    return {};
  }

  static std::size_t OffsetOf(std::string_view word, const EncodeTask& task) {
    return task.offset + static_cast<std::size_t>(word.data() - task.text.data());
  }

  const PreTokenizer* rules_ = nullptr;
  MergeTable merges_;
  std::array<TokenId, 256> bytes_{};  // the token of each byte
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_BYTE_PAIR_ENCODING_HPP_
