// Which tokens are special: what a GGUF file says in so many words, and what follows from spellings and names, because
// files seldom say all of it. Facts as llama.cpp has them (src/llama-vocab.cpp), in its order of precedence.
#ifndef INLAY_TEXT_SPECIAL_TOKENS_HPP_
#define INLAY_TEXT_SPECIAL_TOKENS_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/text/algorithm.hpp"
#include "inlay/text/vocab.hpp"

INLAY_BEGIN_NAMESPACE
namespace detail {

// An id in the metadata; `fallback` (if there is such a token) when the key is absent.
inline Result<TokenId> ReadTokenId(const GgufFile& file, std::string_view key, TokenId fallback, std::size_t count) {
  const std::optional<GgufValue> value = file.Find(key);
  if (!value) return static_cast<std::size_t>(fallback) < count ? fallback : kNoToken;
  INLAY_ASSIGN_OR_RETURN(const std::uint64_t id, value->AsUnsigned());
  if (id >= count) {
    return FailAt(ErrorCode::kBadFile, value->offset, key, "is ", id, " in a vocabulary of ", count, " tokens");
  }
  return static_cast<TokenId>(id);
}

// kMismatch: not a number. kBadFile: an id that is no token.
INLAY_COLD inline Result<SpecialTokens> ReadSpecialTokens(const GgufFile& file, const TokenizerDefaults& defaults,
                                               std::size_t count) {
  SpecialTokens special;
  // BERT's files have the token that begins a sequence under its own name.
  INLAY_ASSIGN_OR_RETURN(special.bos, ReadTokenId(file, "tokenizer.ggml.cls_token_id", defaults.bos, count));
  const TokenId bos = defaults.ends_with_separator ? special.bos : defaults.bos;
  INLAY_ASSIGN_OR_RETURN(special.bos, ReadTokenId(file, "tokenizer.ggml.bos_token_id", bos, count));
  INLAY_ASSIGN_OR_RETURN(special.eos, ReadTokenId(file, "tokenizer.ggml.eos_token_id", defaults.eos, count));
  INLAY_ASSIGN_OR_RETURN(special.unknown,
                         ReadTokenId(file, "tokenizer.ggml.unknown_token_id", defaults.unknown, count));
  INLAY_ASSIGN_OR_RETURN(special.eot, ReadTokenId(file, "tokenizer.ggml.eot_token_id", kNoToken, count));
  INLAY_ASSIGN_OR_RETURN(special.eom, ReadTokenId(file, "tokenizer.ggml.eom_token_id", kNoToken, count));
  INLAY_ASSIGN_OR_RETURN(special.separator,
                         ReadTokenId(file, "tokenizer.ggml.seperator_token_id", defaults.separator, count));
  INLAY_ASSIGN_OR_RETURN(special.padding,
                         ReadTokenId(file, "tokenizer.ggml.padding_token_id", defaults.padding, count));
  INLAY_ASSIGN_OR_RETURN(special.mask, ReadTokenId(file, "tokenizer.ggml.mask_token_id", defaults.mask, count));
  return special;
}

// Completes a vocabulary before Finish: default ids that are not meant go, known spellings get their attributes.
class SpecialTokenRules {
 public:
  // kMismatch, kBadFile: as ReadSpecialTokens, for keys that only matter here.
  static Result<void> Apply(const GgufFile& file, SpecialTokens& special, Vocabulary& vocabulary) {
    SpecialTokenRules rules(file, special, vocabulary);
    rules.DropDefaults();
    INLAY_CHECK_OK(rules.NameEndings());
    rules.MarkUnused();
    rules.ShowChannels();
    rules.StripWhiteSpace();
    return {};
  }

 private:
  static constexpr TokenAttributes kMarkers = kTokenControl | kTokenUnknown | kTokenUserDefined;

  SpecialTokenRules(const GgufFile& file, SpecialTokens& special, Vocabulary& vocabulary)
      : file_(file), special_(special), vocabulary_(vocabulary) {}

  // A default id is meant only where the token there is one of that kind; no ordinary piece begins sequences.
  void DropDefaults() {
    const auto drop = [&](std::string_view key, TokenId& id) {
      if (id == kNoToken || file_.Find(key)) return;
      if ((vocabulary_.Attributes(id) & (kTokenControl | kTokenUnknown)) == 0) id = kNoToken;
    };
    drop("tokenizer.ggml.bos_token_id", special_.bos);
    drop("tokenizer.ggml.eos_token_id", special_.eos);
    drop("tokenizer.ggml.unknown_token_id", special_.unknown);
    drop("tokenizer.ggml.seperator_token_id", special_.separator);
    drop("tokenizer.ggml.padding_token_id", special_.padding);
    drop("tokenizer.ggml.mask_token_id", special_.mask);
  }

  // The first of the spellings that is a token; it is a control token even where the file does not say so.
  TokenId FindControl(std::span<const std::string_view> spellings) {
    for (const std::string_view spelling : spellings) {
      const TokenId id = vocabulary_.Find(spelling);
      if (id == kNoToken) continue;
      vocabulary_.AddAttributes(id, kTokenControl);
      return id;
    }
    return kNoToken;
  }

  // What ends a turn, a message, or the infill of code.
  Result<void> NameEndings() {
    // clang-format off
    static constexpr std::string_view kTurnEndings[] = {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>",
        "[EOT]", "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>", "<end_of_utterance>"};
    static constexpr std::string_view kOtherEndings[] = {
        "[EOS]", "</s>", "<eos>", "<turn|>", "<|tool_response>", "<|eom_id|>", "<|return|>", "<|call|>", "<|flush|>",
        "<|calls|>", "[e~["};
    static constexpr std::string_view kMessageEnding[] = {"<|eom_id|>"};
    static constexpr std::string_view kInfillPrefix[] = {
        "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\xEF\xBD\x9C" "fim\xE2\x96\x81" "begin\xEF\xBD\x9C>", "<PRE>",
        "\xE2\x96\x81<PRE>", "<|code_prefix|>", "<|prefix|>"};
    static constexpr std::string_view kInfillSuffix[] = {
        "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<\xEF\xBD\x9C" "fim\xE2\x96\x81hole\xEF\xBD\x9C>", "<SUF>",
        "\xE2\x96\x81<SUF>", "<|code_suffix|>", "<|suffix|>"};
    static constexpr std::string_view kInfillMiddle[] = {
        "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\xEF\xBD\x9C" "fim\xE2\x96\x81" "end\xEF\xBD\x9C>", "<MID>",
        "\xE2\x96\x81<MID>", "<|code_middle|>", "<|middle|>"};
    static constexpr std::string_view kInfillPadding[] = {"<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"};
    static constexpr std::string_view kInfillRepository[] = {
        "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"};
    static constexpr std::string_view kInfillSeparator[] = {"<|file_sep|>"};
    // clang-format on
    if (special_.eot == kNoToken) special_.eot = FindControl(kTurnEndings);
    if (special_.eom == kNoToken) special_.eom = FindControl(kMessageEnding);
    struct Infill {
      std::string_view key;
      std::span<const std::string_view> spellings;
      bool ends_generation;
    };
    const Infill infills[] = {{"tokenizer.ggml.fim_pre_token_id", kInfillPrefix, false},
                              {"tokenizer.ggml.fim_suf_token_id", kInfillSuffix, false},
                              {"tokenizer.ggml.fim_mid_token_id", kInfillMiddle, false},
                              {"tokenizer.ggml.fim_pad_token_id", kInfillPadding, true},
                              {"tokenizer.ggml.fim_rep_token_id", kInfillRepository, true},
                              {"tokenizer.ggml.fim_sep_token_id", kInfillSeparator, true}};
    for (const Infill& infill : infills) {
      INLAY_ASSIGN_OR_RETURN(TokenId id, ReadTokenId(file_, infill.key, kNoToken, vocabulary_.size()));
      if (id == kNoToken) id = FindControl(infill.spellings);
      if (id != kNoToken && infill.ends_generation) vocabulary_.AddAttributes(id, kTokenEndsGeneration);
    }
    const std::span<const std::string_view> endings[] = {kTurnEndings, kOtherEndings};
    for (const std::span<const std::string_view> spellings : endings) {
      for (const std::string_view spelling : spellings) {
        const TokenId id = vocabulary_.Find(spelling);
        if (id != kNoToken) vocabulary_.AddAttributes(id, kTokenControl | kTokenEndsGeneration);
      }
    }
    for (const TokenId id : {special_.eos, special_.eot, special_.eom}) {
      if (id != kNoToken) vocabulary_.AddAttributes(id, kTokenEndsGeneration);
    }
    // Where a tool's answer has a token of its own, "</s>" is a tag of HTML.
    const TokenId strike = vocabulary_.Find("</s>");
    if (strike != kNoToken && vocabulary_.Find("<|tool_response>") != kNoToken) {
      vocabulary_.RemoveAttributes(strike, kTokenControl | kTokenEndsGeneration);
      vocabulary_.AddAttributes(strike, kTokenNormal);
    }
    return {};
  }

  void MarkUnused() {
    for (TokenId id = 0; vocabulary_.Contains(id); ++id) {
      if ((vocabulary_.Attributes(id) & kTokenControl) != 0 &&
          vocabulary_.Piece(id).find("unused") != std::string_view::npos) {
        vocabulary_.AddAttributes(id, kTokenUnused);
      }
    }
  }

  // Models that answer in channels mark them with control tokens that whoever reads the answer must see; their messages
  // end without ending the answer. llama.cpp makes these tokens user-defined; here they stay control tokens, so that no
  // text of a user becomes one.
  void ShowChannels() {
    for (const std::string_view spelling : {"<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"}) {
      const TokenId id = vocabulary_.Find(spelling);
      if (id != kNoToken) vocabulary_.AddAttributes(id, kTokenControl | kTokenAlwaysShown);
    }
    const auto has = [&](std::string_view spelling) { return vocabulary_.Find(spelling) != kNoToken; };
    const TokenId end = vocabulary_.Find("<|end|>");
    const bool call = has("<|call|>") || has("<|calls|>");
    if (end != kNoToken && call && (has("<|return|>") || has("<|flush|>"))) {
      vocabulary_.RemoveAttributes(end, kTokenEndsGeneration);
      vocabulary_.AddAttributes(end, kTokenAlwaysShown);
      if (special_.eot == end) special_.eot = kNoToken;
    }
  }

  // No key says which tokens take white space along; only the names of models and pre-tokenisers do.
  void StripWhiteSpace() {
    const auto contains = [&](std::string_view key, std::string_view wanted) {
      const Result<std::string_view> value = file_.GetString(key);
      return value && std::search(value->begin(), value->end(), wanted.begin(), wanted.end(), [](char a, char b) {
                        return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
                      }) != value->end();
    };
    const auto strip_left = [&](std::string_view spelling) {
      const TokenId id = vocabulary_.Find(spelling);
      if (id != kNoToken) vocabulary_.AddAttributes(id, kTokenStripsLeft);
    };
    constexpr std::string_view kPre = "tokenizer.ggml.pre", kArchitecture = "general.architecture",
                               kName = "general.name";
    if (contains(kPre, "jina-v2-de") || contains(kPre, "jina-v2-es") || contains(kPre, "jina-v2-code") ||
        contains(kArchitecture, "nomic-bert-moe") || contains(kArchitecture, "jina-bert-v3")) {
      strip_left("<mask>");
    } else if (contains(kName, "phi-3") || contains(kName, "phi3")) {
      // Trained with the white space after its markers removed.
      for (TokenId id = 0; vocabulary_.Contains(id); ++id) {
        const std::string_view piece = vocabulary_.Piece(id);
        const bool keeps = piece == "<unk>" || piece == "<s>" || piece == "<|endoftext|>";
        if ((vocabulary_.Attributes(id) & kMarkers) != 0 && !keeps) vocabulary_.AddAttributes(id, kTokenStripsRight);
      }
    } else if (contains(kName, "modern-bert") || contains(kPre, "modern-bert")) {
      strip_left("[MASK]");
    }
  }

  const GgufFile& file_;
  SpecialTokens& special_;
  Vocabulary& vocabulary_;
};

}  // namespace detail
INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_SPECIAL_TOKENS_HPP_
