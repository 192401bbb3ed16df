// A model that uses a tool: it writes a call, the program computes, the model answers with the result. The weights are
// linked in and the dimensions compiled in, so that the program is one file.
//
//   calculator "Mia has 128 apples and finds 37 more. How many apples does Mia have now?"
#include <inlay_tiny.hpp>

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "arithmetic.hpp"

// What the model has read and written so far, as tokens.
class Dialog {
 public:
  explicit Dialog(const inlay::Tokenizer& tokenizer) : tokenizer_(tokenizer), tokens_{tokenizer.bos()} {}

  // A control token, "<|user|>", and what somebody says. Control tokens spelled in the text stay ordinary text.
  inlay::Result<void> Add(std::string_view control, std::string_view text) {
    INLAY_CHECK_OK(Append(control, true));
    INLAY_CHECK_OK(Append(text, false));
    return Append("<|end|>", true);
  }
  // Lets the model answer. `tool`: whether it is a call, which it opens with the control token of that name.
  inlay::Result<std::string> Answer(inlay_tiny::TextGenerator& generator, bool& tool) {
    INLAY_CHECK_OK(Append("<|assistant|>", true));
    INLAY_ASSIGN_OR_RETURN(auto generation, generator.Generate(tokens_));
    std::string answer;
    for (const std::string_view text : generation) {
      if (generation.tokens() == 1) tool = tokenizer_.RawPiece(generation.token()) == "<|tool|>";
      if (generation.finish_reason() == inlay::FinishReason::kNone) tokens_.push_back(generation.token());
      answer += text;
    }
    INLAY_CHECK_OK(generation.status());
    INLAY_CHECK_OK(Append("<|end|>", true));
    return answer;
  }

 private:
  inlay::Result<void> Append(std::string_view text, bool control) {
    const inlay::EncodeOptions options{.add_special = false, .parse_special = control};
    INLAY_ASSIGN_OR_RETURN(const auto encoded, inlay::EncodedText::Create(tokenizer_, text, options));
    tokens_.insert(tokens_.end(), encoded.tokens().begin(), encoded.tokens().end());
    return {};
  }

  const inlay::Tokenizer& tokenizer_;
  std::vector<inlay::TokenId> tokens_;
};

inlay::Result<void> Run(std::string_view question) {
  inlay::SerialExecutor executor;
  INLAY_ASSIGN_OR_RETURN(auto generator, inlay_tiny::TextGenerator::Open(inlay_tiny::File(), executor));
  Dialog dialog(generator.tokenizer());
  INLAY_CHECK_OK(dialog.Add("<|system|>", "You are a helpful assistant. You can use a calculator."));
  INLAY_CHECK_OK(dialog.Add("<|user|>", question));
  for (int calls = 0;; ++calls) {
    bool tool = false;
    INLAY_ASSIGN_OR_RETURN(const std::string answer, dialog.Answer(generator, tool));
    if (!tool || calls == 4) {
      std::printf("%s\n", answer.c_str() + (answer.starts_with(' ') ? 1 : 0));
      return {};
    }
    const std::string result = Calculate(answer);
    std::printf("[calculator:%s = %s]\n", answer.c_str(), result.c_str());
    INLAY_CHECK_OK(dialog.Add("<|result|>", result));
  }
}

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: %s QUESTION\n", argv[0]), 2;
  const inlay::Result<void> done = Run(argv[1]);
  if (!done) std::fprintf(stderr, "%s\n", done.error().Message().c_str());
  return done ? 0 : 1;
}
