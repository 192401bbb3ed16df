// SentencePiece's byte-pair encoding ("llama" in GGUF files, "SPM" in llama.cpp): of all neighbours whose joined
// spelling is a piece, the pair with the best score is joined first, until no pair is left. What remains unspelled
// becomes bytes. Source: Kudo and Richardson, "SentencePiece", 2018; ids as llama.cpp computes them.
#ifndef INLAY_TEXT_SENTENCEPIECE_BPE_HPP_
#define INLAY_TEXT_SENTENCEPIECE_BPE_HPP_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "inlay/core/arena.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/text/algorithm.hpp"
#include "inlay/text/pair_merging.hpp"
#include "inlay/text/spaced_words.hpp"
#include "inlay/text/vocab.hpp"
#include "inlay/text/word_cache.hpp"

INLAY_BEGIN_NAMESPACE

// An algorithm (see algorithm.hpp) without tables of its own. Time O(n log n) in the longest stretch without a word
// border, linear beyond that; constant stack.
class SentencePieceBpe {
 public:
  static constexpr TokenizerModel kModel = TokenizerModel::kSentencePieceBpe;

  static constexpr bool Reads(std::string_view model) { return model == "llama"; }
  static Result<TokenizerDefaults> Defaults(const GgufFile&) {
    return TokenizerDefaults{
        .needs_scores = true, .bos = 1, .eos = 2, .unknown = 0, .add_bos = true, .add_space_prefix = true};
  }
  static Result<std::size_t> ArenaBytesFor(const GgufFile&) { return std::size_t{0}; }
  static Result<SentencePieceBpe> Create(const GgufFile&, const Vocabulary&, Arena&) { return SentencePieceBpe(); }

  // Scratch bytes that are enough for every text of `text_bytes`. A text of ordinary words needs only what its longest
  // word needs.
  static constexpr std::size_t ScratchBytes(std::size_t text_bytes) { return Words::ScratchBytes(text_bytes); }
  // No text of `text_bytes` has more tokens: a byte is at most one token, and a prefix space is one more token for the
  // beginning and after each special token.
  static constexpr std::size_t MaxTokens(std::size_t text_bytes) { return 2 * text_bytes + 1; }

  // Errors: those of detail::SpacedWords::Encode.
  Result<void> Encode(const Vocabulary& vocabulary, const EncodeTask& task) const {
    return Words::Encode(vocabulary, Joiner(vocabulary), task.text, task.space_prefix, task);
  }

 private:
  class Joiner {
   public:
    explicit Joiner(const Vocabulary& vocabulary) : vocabulary_(&vocabulary) {}
    void SetText(std::string_view text) { text_ = text; }
    TokenId Start(std::string_view) const { return kNoToken; }
    detail::Joined Join(const detail::MergeSymbol& left, const detail::MergeSymbol&, std::uint32_t end) const {
      const TokenId id = vocabulary_->FindText(text_.substr(left.start, end - left.start));
      if (id == kNoToken) return {};
      return {id, Order(vocabulary_->Score(id))};
    }

   private:
    static std::uint32_t Order(float score) {
      std::uint32_t bits = std::bit_cast<std::uint32_t>(score);
      if (bits == 0x80000000u) bits = 0;  // both zeros are one score
      return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    }

    const Vocabulary* vocabulary_;
    std::string_view text_;
  };
  using Words = detail::SpacedWords<Joiner>;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_SENTENCEPIECE_BPE_HPP_
