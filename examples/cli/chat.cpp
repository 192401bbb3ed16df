// A conversation in the terminal: a line is read, an answer written, and both stay in the context. What the user writes is
// never taken for control tokens: these are put between the texts as ids.
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unistd.h>

#include "examples/calculator/arithmetic.hpp"
#include "commands.hpp"
#include "engine.hpp"

namespace cli {

using inlay::ErrorCode;
using inlay::Fail;
using inlay::Result;
using inlay::TokenId;

namespace {

constexpr std::string_view kDefaultSystem = "You are a helpful assistant. You can use a calculator.";
constexpr int kMostCalls = 4;  // of the calculator, for one answer

// The control tokens that begin each kind of turn, and the one that ends all of them.
struct TurnTokens {
  TokenId system, user, assistant, tool, result, end;

  // kMissing: the model was not made for conversations. kUnsupported: it lays them out in another way.
  static Result<TurnTokens> Find(const inlay::ModelFile& file, const inlay::Vocabulary& vocabulary) {
    constexpr std::string_view kKey = "tokenizer.chat_template";
    constexpr std::string_view kUserTurn = "'<|user|>' + message['content'] + '<|end|>'";
    if (file.gguf() == nullptr || !file.gguf()->Find(kKey)) {
      return Fail(ErrorCode::kMissing, kKey, "the model has none, so it was not made for conversations; see inlay run");
    }
    INLAY_ASSIGN_OR_RETURN(const std::string_view format, file.gguf()->GetString(kKey));
    if (format.find(kUserTurn) == std::string_view::npos) {
      return Fail(ErrorCode::kUnsupported, kKey, "is not a form that this version knows; it has that of the built-in model");
    }
    TurnTokens turns{};
    for (const auto& [id, piece] : {std::pair{&turns.system, "<|system|>"}, {&turns.user, "<|user|>"},
                                    {&turns.assistant, "<|assistant|>"}, {&turns.tool, "<|tool|>"},
                                    {&turns.result, "<|result|>"}, {&turns.end, "<|end|>"}}) {
      *id = vocabulary.Find(piece);
      if (*id == inlay::kNoToken) return Fail(ErrorCode::kMissing, piece, "the chat template needs this token");
    }
    return turns;
  }
};

class Conversation {
 public:
  Conversation(Engine& engine, const TurnTokens& turns, const ChatOptions& options)
      : engine_(engine), turns_(turns), options_(options), system_(options.system.value_or(std::string(kDefaultSystem))) {}

  // Reads what the user says and writes the answer to standard output. When the context has no room left, what was said
  // before is forgotten. kContextFull: the line alone does not fit.
  Result<void> Say(std::string_view line) {
    const bool had_past = !read_.empty();
    const Result<void> answered = Answer(line);
    if (answered || answered.error().code != ErrorCode::kContextFull || !had_past) return answered;
    std::fputs("(the context is full; what was said before is forgotten)\n", stderr);
    Forget();
    return Answer(line);
  }

 private:
  void Forget() {
    engine_.Restart();
    read_.clear();
    pending_.clear();
  }

  Result<void> Answer(std::string_view line) {
    if (read_.empty()) {
      INLAY_ASSIGN_OR_RETURN(pending_, engine_.Encode(""));  // what begins a sequence
      if (!system_.empty()) INLAY_CHECK_OK(AddTurn(turns_.system, system_));
    }
    INLAY_CHECK_OK(AddTurn(turns_.user, line));
    for (int calls = 0;; ++calls) {
      std::string call;
      INLAY_ASSIGN_OR_RETURN(const bool is_call, Continue(call));
      if (!is_call || calls == kMostCalls) return {};
      const std::string result = Calculate(call);
      INLAY_CHECK_OK(WriteOut("[" + call + " = " + result + "]\n"));
      INLAY_CHECK_OK(AddTurn(turns_.result, result));
    }
  }

  Result<void> AddTurn(TokenId begin, std::string_view text) {
    INLAY_ASSIGN_OR_RETURN(const std::vector<TokenId> tokens,
                           engine_.Encode(text, {.add_special = false, .parse_special = false}));
    pending_.push_back(begin);
    pending_.insert(pending_.end(), tokens.begin(), tokens.end());
    pending_.push_back(turns_.end);
    return {};
  }

  // Lets the model write a turn: text, which is printed, or a call of the calculator, for which it is true.
  Result<bool> Continue(std::string& call) {
    pending_.push_back(turns_.assistant);
    // An answer of a few words must fit behind.
    constexpr std::size_t kLeastRoom = 32;
    if (pending_.size() + kLeastRoom > engine_.remaining()) {
      return Fail(ErrorCode::kContextFull, "context", pending_.size(), " more tokens, ", engine_.remaining(), " positions left");
    }
    INLAY_CHECK_OK(engine_.Append(pending_, [](std::size_t, std::size_t) { return !Interrupted().load(); }));
    read_.insert(read_.end(), pending_.begin(), pending_.end());
    pending_.clear();

    bool first = true, is_call = false, begun = false;
    const auto use = [&](std::string_view text, TokenId token) -> Result<void> {
      if (first) is_call = token == turns_.tool;
      first = false;
      read_.push_back(token);
      if (!begun && text.starts_with(' ')) text.remove_prefix(1);  // of the first word
      begun = begun || !text.empty();
      if (is_call) {
        call += text;
        return {};
      }
      INLAY_CHECK_OK(WriteOut(text));
      return FlushOut();
    };
    const std::vector<TokenId> before = read_;
    INLAY_ASSIGN_OR_RETURN(const Engine::Generated generated,
                           engine_.Generate(before, std::min(options_.max_tokens, engine_.remaining()), options_.sampling,
                                            true, use));
    INLAY_CHECK_OK(generated.status);
    if (generated.reason != inlay::FinishReason::kEndOfText) pending_.push_back(generated.last);
    pending_.push_back(turns_.end);
    if (!is_call) INLAY_CHECK_OK(WriteOut("\n"));
    INLAY_CHECK_OK(FlushOut());
    return is_call;
  }

  Engine& engine_;
  const TurnTokens turns_;
  const ChatOptions& options_;
  const std::string system_;
  std::vector<TokenId> read_;     // in the context, for penalties
  std::vector<TokenId> pending_;  // to be read before the next answer
};

}  // namespace

Result<void> Chat(const ChatOptions& options) {
  INLAY_CHECK_OK(options.sampling.Validate());
  INLAY_ASSIGN_OR_RETURN(Engine engine, Engine::Open(options.model));
  INLAY_ASSIGN_OR_RETURN(const inlay::Tokenizer* const tokenizer, engine.tokenizer());
  INLAY_ASSIGN_OR_RETURN(const TurnTokens turns, TurnTokens::Find(engine.file(), tokenizer->vocabulary()));
  inlay::SessionOptions session;
  session.context = DefaultContext(engine.config(), options.model.context);
  session.kv = options.model.kv;
  session.batch = std::min(session.batch, session.context);
  INLAY_CHECK_OK(engine.Start(session));

  Conversation conversation(engine, turns, options);
  const bool person = isatty(STDIN_FILENO) == 1;
  for (std::string line;;) {
    if (person) {
      INLAY_CHECK_OK(WriteOut("> "));
      INLAY_CHECK_OK(FlushOut());
    }
    if (!std::getline(std::cin, line)) break;
    if (line.find_first_not_of(" \t\r") != std::string::npos) INLAY_CHECK_OK(conversation.Say(line));
  }
  return person ? WriteOut("\n") : Result<void>();
}

}  // namespace cli
