// Commands that print numbers of a model: logits, embed, perplexity.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "commands.hpp"
#include "engine.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::Result;
using inlay::TokenId;

namespace {

// Room for the tokens, rounded up as others do: for models whose rotary positions depend on the size of the context
// (LongRoPE), so that a few tokens are scored as the beginning of a longer text.
std::size_t ScoringContext(const ModelOptions& options, std::size_t tokens) {
  constexpr std::size_t kStep = 256;
  return options.context != 0 ? options.context : (tokens + kStep - 1) / kStep * kStep;
}

}  // namespace

Result<void> Logits(const LogitsOptions& options) {
  INLAY_ASSIGN_OR_RETURN(const std::vector<TokenId> tokens, ParseTokens(options.tokens));
  INLAY_ASSIGN_OR_RETURN(Engine engine, Engine::Open(options.model));
  inlay::SessionOptions session;
  session.context = ScoringContext(options.model, tokens.size());
  session.kv = options.model.kv;
  session.batch = std::min(session.batch, tokens.size());
  std::string out = "{\"logits\":[";
  if (options.all) {
    const auto print = [&](std::size_t position, std::span<const float> logits) -> Result<void> {
      if (position != 0) out += ",\n";
      AppendNumbers(out, logits);
      INLAY_CHECK_OK(WriteOut(out));
      out.clear();
      return {};
    };
    session.outputs = session.batch;
    INLAY_CHECK_OK(engine.StartEvaluation(session));
    INLAY_CHECK_OK(engine.Evaluate(tokens, print));
  } else {
    INLAY_CHECK_OK(engine.Start(session));
    Progress progress("reading");
    INLAY_CHECK_OK(engine.Append(tokens, progress));
    AppendNumbers(out, engine.logits());
  }
  return WriteOut(out + "]}\n");
}

Result<void> Embed(const EmbedOptions& options) {
  INLAY_ASSIGN_OR_RETURN(const std::vector<TokenId> tokens, ParseTokens(options.tokens));
  INLAY_ASSIGN_OR_RETURN(Engine engine, Engine::Open(options.model));
  inlay::SessionOptions session;
  session.context = ScoringContext(options.model, tokens.size());
  session.kv = options.model.kv;
  session.batch = tokens.size();
  inlay::Pooling pooling = engine.config().pooling;
  if (options.pooling == "mean") pooling = inlay::Pooling::kMean;
  if (options.pooling == "cls") pooling = inlay::Pooling::kCls;
  if (options.pooling == "last") pooling = inlay::Pooling::kLast;
  if (options.pooling == "rank") pooling = inlay::Pooling::kRank;
  INLAY_CHECK_OK(engine.StartEvaluation(session));
  INLAY_ASSIGN_OR_RETURN(const std::vector<float> embedding, engine.Embed(tokens, pooling));
  std::string out = pooling == inlay::Pooling::kRank ? "{\"scores\":" : "{\"embedding\":";
  AppendNumbers(out, embedding);
  return WriteOut(out + "}\n");
}

namespace {

// ln of the probability that softmax(logits) gives to `token`.
double LogProbability(std::span<const float> logits, TokenId token) {
  const double largest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - largest);
  return static_cast<double>(logits[static_cast<std::size_t>(token)]) - largest - std::log(sum);
}

}  // namespace

// The text is cut into windows without overlap, each of which predicts as many tokens as the context has positions, so
// every token is predicted once. What stands before the first of them is the beginning-of-sequence token, where the
// vocabulary has one, else the last token of the window before.
Result<void> Perplexity(const PerplexityOptions& options) {
  INLAY_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(options.text_path));
  INLAY_ASSIGN_OR_RETURN(Engine engine, Engine::Open(options.model));
  INLAY_ASSIGN_OR_RETURN(const inlay::Tokenizer* const tokenizer, engine.tokenizer());
  INLAY_ASSIGN_OR_RETURN(std::vector<TokenId> tokens, engine.Encode(text));
  if (tokenizer->add_eos() && !tokens.empty()) tokens.pop_back();
  const bool has_bos = tokenizer->add_bos();
  const TokenId bos = tokenizer->bos();
  if (tokens.size() < 2) return Fail(ErrorCode::kInvalidArgument, "--file", "has no token to predict");

  inlay::SessionOptions session;
  session.context = DefaultContext(engine.config(), options.model.context);
  session.kv = options.model.kv;
  session.batch = std::min(session.batch, session.context);
  session.outputs = session.batch;
  INLAY_CHECK_OK(engine.StartEvaluation(session));

  Progress progress("scoring");
  double sum = 0;
  std::size_t predicted = 0, windows = 0;
  std::vector<TokenId> input;
  for (std::size_t at = 0; at + 1 < tokens.size(); ++windows) {
    const std::size_t count = std::min(session.context, tokens.size() - 1 - at);
    input.assign(tokens.begin() + static_cast<std::ptrdiff_t>(at), tokens.begin() + static_cast<std::ptrdiff_t>(at + count));
    if (has_bos) input.front() = bos;
    const auto score = [&](std::size_t position, std::span<const float> logits) -> Result<void> {
      sum += LogProbability(logits, tokens[at + position + 1]);
      ++predicted;
      if (!progress(at + position + 1, tokens.size())) return Fail(ErrorCode::kCancelled, "perplexity", "interrupted");
      return {};
    };
    INLAY_CHECK_OK(engine.Evaluate(input, score));
    at += count;
  }
  const double mean = sum / static_cast<double>(predicted);
  char line[256];
  std::snprintf(line, sizeof(line),
                "{\"n_predicted\":%zu,\"mean_logprob\":%.9g,\"perplexity\":%.9g,\"windows\":%zu,\"context\":%zu}\n", predicted,
                mean, std::exp(-mean), windows, session.context);
  return WriteOut(line);
}

}  // namespace cli
