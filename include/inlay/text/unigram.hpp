// SentencePiece's unigram model ("t5" in GGUF files, "UGM" in llama.cpp): of all ways to spell a text with pieces the
// one with the greatest sum of scores. Source: Kudo, "Subword regularization", 2018; ids as llama.cpp computes them.
#ifndef INLAY_TEXT_UNIGRAM_HPP_
#define INLAY_TEXT_UNIGRAM_HPP_

#include <algorithm>
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
#include "inlay/text/character_map.hpp"
#include "inlay/text/piece_index.hpp"
#include "inlay/text/utf8.hpp"
#include "inlay/text/vocab.hpp"
#include "inlay/text/word_cache.hpp"

INLAY_BEGIN_NAMESPACE

// An algorithm (see algorithm.hpp). Text is normalised by the file's table first; bytes that are no valid UTF-8 become
// U+FFFD on the way, as these vocabularies have no tokens for bytes. What no piece spells becomes one unknown token.
// Time O(n log v) for v pieces, unless pieces begin with many others; constant stack.
class Unigram {
 public:
  static constexpr TokenizerModel kModel = TokenizerModel::kUnigram;

  static constexpr bool Reads(std::string_view model) { return model == "t5"; }
  static Result<TokenizerDefaults> Defaults(const GgufFile&) {
    return TokenizerDefaults{.needs_scores = true, .eos = 1, .unknown = 2, .padding = 0, .add_eos = true};
  }
  static Result<std::size_t> ArenaBytesFor(const GgufFile& file) {
    INLAY_ASSIGN_OR_RETURN(const GgufArray tokens, file.GetArray("tokenizer.ggml.tokens", GgufType::kString));
    return PieceIndex::ArenaBytesFor(static_cast<std::size_t>(tokens.count));
  }

  // kMissing: no unknown token. kMismatch: a flag that is none. Those of CharacterMap::Open. kOutOfMemory.
  static Result<Unigram> Create(const GgufFile& file, const Vocabulary& vocabulary, Arena& arena) {
    Unigram algorithm;
    if (vocabulary.special().unknown == kNoToken) {
      return Fail(ErrorCode::kMissing, "tokenizer.ggml.unknown_token_id", "needed: text without pieces becomes it");
    }
    if (const auto map = file.Find(CharacterMap::kKey)) {
      INLAY_ASSIGN_OR_RETURN(const GgufArray blob, map->AsArray());
      INLAY_ASSIGN_OR_RETURN(algorithm.map_, CharacterMap::Open(blob));
    }
    if (const auto remove = file.Find("tokenizer.ggml.remove_extra_whitespaces")) {
      INLAY_ASSIGN_OR_RETURN(algorithm.merges_spaces_, remove->AsBool());
    }
    float least = std::numeric_limits<float>::max();
    for (TokenId id = 0; vocabulary.Contains(id); ++id) {
      if ((vocabulary.Attributes(id) & kTokenNormal) != 0) least = std::min(least, vocabulary.Score(id));
    }
    algorithm.unknown_score_ = least - kUnknownPenalty;
    constexpr TokenAttributes kSpelling = kTokenNormal | kTokenUserDefined | kTokenUnused;
    const auto spells = [&](TokenId id) {
      return (vocabulary.Attributes(id) & kSpelling) != 0 && vocabulary.IsText(id);
    };
    INLAY_ASSIGN_OR_RETURN(algorithm.index_, PieceIndex::Create(vocabulary, spells, arena));
    return algorithm;
  }

  std::size_t ScratchBytes(std::size_t text_bytes) const {
    return (text_bytes * map_.most_bytes() + kSpaceMark.size() + 1) * kBytesPerByte + alignof(Node);
  }
  std::size_t MaxTokens(std::size_t text_bytes) const { return text_bytes * map_.most_characters() + text_bytes + 1; }

  // kOutOfMemory: scratch too small.
  Result<void> Encode(const Vocabulary& vocabulary, const EncodeTask& task) const {
    Run run(*this, vocabulary, task);
    const std::string_view text = task.text;
    // A word here: spaces, then everything up to the next space. Normalising knows no more than one of them, unless
    // replacements do.
    for (std::size_t begin = 0; begin < text.size();) {
      std::size_t end = text.size();
      if (!map_.has_spaces()) {
        const std::size_t letters = std::min(text.find_first_not_of(' ', begin), text.size());
        end = std::min(text.find(' ', letters), text.size());
      }
      INLAY_CHECK_OK(run.EncodeWord(text.substr(begin, end - begin), task.offset + begin));
      begin = end;
    }
    return run.Finish();
  }

 private:
  // The best way to spell the text up to a place.
  struct Node {
    double score;
    std::uint32_t start;  // of its last token
    TokenId id;
  };
  static constexpr float kUnknownPenalty = 10.0f;
  static constexpr std::size_t kBytesPerByte = sizeof(Node) + 1;

  // What is kept while a stretch of text is encoded: the normalised text that was not spelled yet.
  class Run {
   public:
    Run(const Unigram& algorithm, const Vocabulary& vocabulary, const EncodeTask& task)
        : algorithm_(algorithm), vocabulary_(vocabulary), task_(task) {
      UseMemory(task.cache.Memory(0));
    }

    Result<void> EncodeWord(std::string_view word, std::size_t offset) {
      offset_ = offset;
      // The first word alone may have a space put before it that is not in the text.
      const bool same_everywhere = algorithm_.merges_spaces_ || prefixed_ || !task_.space_prefix;
      const bool alone = size_ == 0 && same_everywhere;
      if (alone && task_.cache.Repeat(word, task_.out)) {
        after_space_ = word.back() == ' ';
        after_unknown_ = false;
        return {};
      }
      const std::size_t first = task_.out.count();
      any_unknown_ = false;
      INLAY_CHECK_OK(Normalize(word));
      const bool at_border = size_ == 0 || vocabulary_.IsBorderBeforeSpace(text_[size_ - 1]);
      if (!at_border || algorithm_.map_.has_spaces()) return {};
      Spell();
      if (alone && !any_unknown_ && word.back() != ' ') task_.cache.Keep(word, first, task_.out);
      return {};
    }

    Result<void> Finish() {
      Spell();
      return {};
    }

   private:
    void UseMemory(std::span<std::byte> memory) {
      // The text in front, so that it stays when more memory comes to be used.
      text_ = reinterpret_cast<char*>(memory.data());
      memory_ = memory;
      capacity_ = memory.size() > alignof(Node) + sizeof(Node)
                      ? (memory.size() - alignof(Node) - sizeof(Node)) / kBytesPerByte
                      : 0;
    }

    Result<void> Normalize(std::string_view word) {
      for (std::size_t at = 0; at < word.size();) {
        const std::string_view rest = word.substr(at);
        CharacterMap::Match match = algorithm_.map_.Find(rest);
        if (match.size == 0) {
          const Utf8Character character = DecodeUtf8(rest);
          match = {1, "\xEF\xBF\xBD"};
          if (character.valid) match = {character.size, rest.substr(0, character.size)};
        }
        for (const char c : match.replacement) INLAY_CHECK_OK(Append(c));
        at += match.size;
      }
      return {};
    }

    // Spaces are put before words: those of the text, or, where they are merged, one each.
    Result<void> Append(char c) {
      if (c == ' ') {
        after_space_ = true;
        return algorithm_.merges_spaces_ ? Result<void>() : AppendSpace();
      }
      if (after_space_) {
        after_space_ = false;
        if (algorithm_.merges_spaces_ || (task_.space_prefix && !prefixed_)) {
          prefixed_ = true;
          INLAY_CHECK_OK(AppendSpace());
        }
      }
      return AppendByte(c);
    }
    Result<void> AppendSpace() {
      if (size_ != 0 && !EndsInSpace() && vocabulary_.IsBorderBeforeSpace(text_[size_ - 1])) Spell();
      for (const char byte : kSpaceMark) INLAY_CHECK_OK(AppendByte(byte));
      return {};
    }
    bool EndsInSpace() const {
      const std::string_view text(text_, size_);
      return size_ >= kSpaceMark.size() && text.substr(size_ - kSpaceMark.size()) == kSpaceMark;
    }
    Result<void> AppendByte(char byte) {
      if (size_ == capacity_) {
        UseMemory(task_.cache.Memory(std::numeric_limits<std::size_t>::max()));
        if (size_ >= capacity_ || size_ == std::numeric_limits<std::uint32_t>::max()) {
          return FailAt(ErrorCode::kOutOfMemory, offset_, "scratch", "holds ", size_,
                        " bytes of normalised text, which the word here exceeds");
        }
      }
      text_[size_++] = byte;
      return {};
    }

    // Appends the tokens of the normalised text and forgets it.
    void Spell() {
      if (size_ == 0) return;
      void* start = memory_.data() + size_;
      std::size_t room = memory_.size() - size_;
      Node* const nodes = static_cast<Node*>(std::align(alignof(Node), (size_ + 1) * sizeof(Node), start, room));
      const TokenId unknown = vocabulary_.special().unknown;
      std::fill(nodes, nodes + size_ + 1, Node{-std::numeric_limits<double>::max(), 0, unknown});
      nodes[0].score = 0;
      const std::string_view text(text_, size_);
      for (std::size_t at = 0; at < size_;) {
        const double score = nodes[at].score;
        const auto challenge = [&](std::size_t end, TokenId id, double more) {
          if (score + more > nodes[end].score) nodes[end] = {score + more, static_cast<std::uint32_t>(at), id};
        };
        const std::size_t next = at + std::min(Utf8SizeByLead(text[at]), size_ - at);
        bool spelled = false;
        const PieceIndex& index = algorithm_.index_;
        for (auto found = index.FindLongest(vocabulary_, text.substr(at)); found != PieceIndex::kNone;
             found = index.Shorter(found)) {
          const TokenId id = index.IdAt(found);
          const std::size_t end = at + vocabulary_.PieceSize(id);
          if (end == next) spelled = true;
          // User-defined pieces cost nothing.
          const bool wanted = (vocabulary_.Attributes(id) & kTokenUserDefined) != 0;
          challenge(end, id, wanted ? 0.0 : static_cast<double>(vocabulary_.Score(id)));
        }
        if (!spelled) challenge(next, unknown, static_cast<double>(algorithm_.unknown_score_));
        at = next;
      }
      // From the end to the start by their links, turning these round on the way; then forward.
      std::uint32_t after = 0;
      for (std::uint32_t at = static_cast<std::uint32_t>(size_); at != 0;) {
        const std::uint32_t before = nodes[at].start;
        nodes[at].start = after;
        after = at;
        at = before;
      }
      for (std::uint32_t at = after; at != 0; at = nodes[at].start) {
        const bool is_unknown = nodes[at].id == unknown;
        if (!is_unknown || !after_unknown_) task_.out.Push(nodes[at].id);
        any_unknown_ = any_unknown_ || is_unknown;
        after_unknown_ = is_unknown;
      }
      size_ = 0;
    }

    const Unigram& algorithm_;
    const Vocabulary& vocabulary_;
    const EncodeTask& task_;
    std::span<std::byte> memory_;  // [text | room for nodes]
    char* text_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;  // of text, so that the nodes have room too
    std::size_t offset_ = 0;
    bool after_space_ = true;     // the text so far is empty or ends in a space
    bool prefixed_ = false;       // a word has had its space put before it
    bool after_unknown_ = false;  // the last token is the unknown one
    bool any_unknown_ = false;
  };

  CharacterMap map_;
  PieceIndex index_;
  float unknown_score_ = 0;
  bool merges_spaces_ = false;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_UNIGRAM_HPP_
