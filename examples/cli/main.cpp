// inlay: the library from a command line. Turns arguments into one call of commands.hpp and its result into an exit code.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <functional>
#include <map>
#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "commands.hpp"
#include "common.hpp"
#include "formats.hpp"
#include "inlay/config/known_models.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/formats/kv_type.hpp"

namespace {

using cli::ModelOptions;
using inlay::KvType;

const std::map<std::string, KvType> kKvTypes = [] {
  std::map<std::string, KvType> types;
  for (const KvType type : inlay::AllKvTypes::kList) types.emplace(inlay::Name(type), type);
  return types;
}();

// One line, whatever a file wrote into a name that the message quotes.
int Complain(std::string text, int exit_code) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  std::fprintf(stderr, "inlay: %s\n", text.c_str());
  return exit_code;
}

enum class NoModel { kError, kBuiltIn };

void AddFile(CLI::App& command, ModelOptions& model, NoModel none = NoModel::kError) {
  CLI::Option& path = *command.add_option("model", model.path, "GGUF file, packed file or llama2.c checkpoint" +
                                          std::string(none == NoModel::kBuiltIn ? "; default: the small model in here" : ""));
  path.required(none == NoModel::kError);
  command.add_option("--tokenizer", model.tokenizer, "llama2.c's tokenizer.bin, for its checkpoints");
  command.add_option("-t,--threads", model.threads, "Threads; default: every CPU")->check(CLI::Range(1, 1024));
  command.add_flag("--verify", model.verify, "Check the hash of a packed file, and other files for NaN and infinity");
}

void AddSession(CLI::App& command, ModelOptions& model, KvType default_kv) {
  AddFile(command, model, NoModel::kBuiltIn);
  command.add_option("--cpu", model.cpu, "With dynamic dispatch: baseline, sse4, avx2 or avx512 instead of the best");
  model.kv = default_kv;
  command.add_option("-c,--context", model.context, "Positions; default: the trained context, at most 4096")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 28));
  command.add_option("--kv", model.kv, "Type of the key/value cache; default: " + std::string(inlay::Name(default_kv)))
      ->transform(CLI::CheckedTransformer(kKvTypes, CLI::ignore_case));
  command.add_option("--lora", model.loras, "Low-rank adapter, as FILE or FILE=SCALE; may be given several times")->allow_extra_args(false);
  command.add_option("--control-vector", model.control_vectors, "Control vector, as FILE or FILE=SCALE; may be given several times")
      ->allow_extra_args(false);
}

void AddSampling(CLI::App& command, inlay::SamplerOptions& sampling) {
  command.add_option("--temp,--temperature", sampling.temperature, "0: always the likeliest token (the default)");
  command.add_option("--top-k", sampling.top_k, "Only the k likeliest tokens; 0: all");
  command.add_option("--top-p", sampling.top_p, "Only the likeliest tokens that together have this probability; 1: all");
  command.add_option("--min-p", sampling.min_p, "Only tokens this likely, relative to the likeliest; 0: all");
  command.add_option("--repeat-penalty", sampling.repetition_penalty, "Above 1: tokens of the last 64 are less likely");
  command.add_option("--seed", sampling.seed, "Start of the random numbers; default 0");
}

// Options and the action of every command; the chosen one is left in `action`.
class CommandLine {
 public:
  CommandLine() {
    app_.require_subcommand(1);
    app_.set_version_flag("--version", std::to_string(INLAY_VERSION_MAJOR) + "." + std::to_string(INLAY_VERSION_MINOR) +
                                           "." + std::to_string(INLAY_VERSION_PATCH));
    AddText();
    AddScores();
    AddFiles();
    AddMeasurement();
    AddPlanned("render", "Messages as a chat template writes them");
    AddPlanned("accepts", "Whether a grammar or a JSON schema accepts a text");
  }

  int Main(int argc, char** argv) {
    // CLI11 would say that a command is missing.
    const auto is_named = [&](CLI::App* command) { return command->get_name() == argv[1]; };
    if (argc > 1 && argv[1][0] != '-' && app_.get_subcommands(is_named).empty()) {
      return Complain("there is no command \"" + std::string(argv[1]) + "\"; see inlay --help", 2);
    }
    std::vector<std::string> arguments;  // last first, as CLI11 takes them
    for (int i = argc - 1; i > 0; --i) {
      std::string argument = argv[i];
      // "--prompt=" is an empty value; CLI11 would take the next argument instead.
      if (argument.size() > 3 && argument.starts_with("--") && argument.find('=') == argument.size() - 1) {
        argument.pop_back();
        arguments.emplace_back();
      }
      arguments.push_back(std::move(argument));
    }
    try {
      app_.parse(std::move(arguments));
    } catch (const CLI::Success& success) {
      return app_.exit(success);  // --help, --version
    } catch (const CLI::ParseError& error) {
      return Complain(std::string(error.what()) + "; see inlay --help", 2);
    }
    cli::CatchInterrupts();
    inlay::Result<void> result = action_();
    if (result) result = cli::FlushOut();
    if (result) return 0;
    return Complain(result.error().Message().c_str(), cli::ExitCode(result.error().code));
  }

 private:
  template <class Options>
  CLI::App& Add(const char* name, const char* help, Options& options, inlay::Result<void> (*function)(const Options&)) {
    CLI::App& command = *app_.add_subcommand(name, help);
    command.callback([this, &options, function] { action_ = [&options, function] { return function(options); }; });
    return command;
  }

  // A command that this version lacks, whatever its arguments.
  void AddPlanned(const char* name, const char* what) {
    CLI::App& command = *app_.add_subcommand(name, std::string(what) + ": not supported yet");
    command.allow_extras();
    command.callback([this, name, what] {
      action_ = [name, what]() -> inlay::Result<void> {
        return inlay::Fail(inlay::ErrorCode::kUnsupported, name, what, ": this version does not support it yet");
      };
    });
  }

  void AddText() {
    CLI::App& run = Add("run", "Continue a prompt", run_, cli::Run);
    AddSession(run, run_.model, KvType::kF16);
    run.add_option("-p,--prompt", run_.prompt, "Text to continue");
    run.add_option("-n,--max-tokens", run_.max_tokens, "Most tokens to generate; default: 256, or what the context leaves");
    AddSampling(run, run_.sampling);
    run.add_flag("--ignore-end", run_.ignore_end, "Go on after the model has ended its text");
    run.add_flag("-q,--quiet", run_.quiet, "No statistics");

    CLI::App& chat = Add("chat", "Answer one line after the other from standard input", chat_, cli::Chat);
    AddSession(chat, chat_.model, KvType::kF16);
    chat.add_option("-s,--system", chat_.system, "What the model is told first; default: that it helps and may calculate");
    chat.add_option("-n,--max-tokens", chat_.max_tokens, "Most tokens of one answer; default: 256");
    AddSampling(chat, chat_.sampling);

    CLI::App& tokenize = Add("tokenize", "JSON lines {\"text\": ...} on standard input to {\"ids\": [...]}", tokenize_,
                             cli::Tokenize);
    CLI::App& detokenize = Add("detokenize", "JSON lines {\"ids\": [...]} on standard input to {\"text_base64\": ...}",
                               detokenize_, cli::Detokenize);
    for (const auto& [command, options] : {std::pair{&tokenize, &tokenize_}, std::pair{&detokenize, &detokenize_}}) {
      command->add_option("model", options->path, "GGUF file, packed file or llama2.c checkpoint")->required();
      command->add_option("--tokenizer", options->tokenizer, "llama2.c's tokenizer.bin, for its checkpoints");
    }
  }

  void AddScores() {
    CLI::App& logits = Add("logits", "Scores of the token after a sequence, as JSON", logits_, cli::Logits);
    AddSession(logits, logits_.model, KvType::kF32);
    logits.add_option("--tokens", logits_.tokens, "Token ids, as 1,2,3")->required();
    logits.add_flag("--all", logits_.all, "After every token, not only the last");

    CLI::App& embed = Add("embed", "Embedding of a sequence, as JSON", embed_, cli::Embed);
    AddSession(embed, embed_.model, KvType::kF32);
    embed.add_option("--tokens", embed_.tokens, "Token ids, as 1,2,3")->required();
    embed.add_option("--pooling", embed_.pooling, "mean, cls, last, or rank for the scores of a reranker; default: the model's own, else mean")
        ->check(CLI::IsMember({"mean", "cls", "last", "rank"}));

    CLI::App& rerank = Add("rerank", "JSON lines {\"document\": ...} on standard input to {\"score\": ...}", rerank_, cli::Rerank);
    AddSession(rerank, rerank_.model, KvType::kF32);
    rerank.add_option("-q,--query", rerank_.query, "What the documents are to answer; a line may have a \"query\" of its own");
    rerank.add_flag("--lines", rerank_.lines, "Lines are documents as they are, not JSON");
    rerank.add_flag("--cut", rerank_.cut, "Read what there is room for of a document that is too long");

    CLI::App& perplexity = Add("perplexity", "How well the model predicts a text, as JSON", perplexity_, cli::Perplexity);
    AddSession(perplexity, perplexity_.model, KvType::kF32);
    perplexity.add_option("-f,--file", perplexity_.text_path, "Text file")->required();
  }

  void AddFiles() {
    CLI::App& dequant = Add("dequant", "Rows of a tensor as float32, as JSON", dequant_, cli::Dequant);
    dequant.add_option("model", dequant_.path, "GGUF file")->required();
    dequant.add_option("tensor", dequant_.tensor, "Name of the tensor")->required();
    dequant.add_option("--rows", dequant_.rows, "How many of its first rows; default 1");

    CLI::App& pack = Add("pack", "Write a model in the layout that opens without copying", pack_, cli::Pack);
    AddFile(pack, pack_.model);
    pack.add_option("output", pack_.output, "File to write; replaced only when the new one is complete")->required();

    CLI::App& quantize = Add("quantize", "Write a model with its matrices in another weight type", quantize_, cli::Quantize);
    quantize.add_option("input", quantize_.input, "GGUF file")->required();
    quantize.add_option("output", quantize_.output, "GGUF file to write; replaced only when the new one is complete")
        ->required();
    quantize.add_option("--format", quantize_.format, "Weight type or mix: " + cli::FormatNames())->required();
    quantize.add_option("--keep", quantize_.keep, "ROLE=TYPE: another type for some matrices, as output=q8_0; may be repeated");
    quantize.add_option("-t,--threads", quantize_.threads, "Threads; default: every CPU")->check(CLI::Range(1, 1024));
    CLI::App& convert = Add("convert", "Write a folder of Hugging Face's (config.json, *.safetensors, tokenizer) as GGUF", convert_,
                            cli::Convert);
    convert.add_option("folder", convert_.folder, "The folder")->required();
    convert.add_option("output", convert_.output, "GGUF file to write; replaced only when the new one is complete")->required();
    convert.add_option("--format", convert_.format, "Type of the matrices, as q8_0; default: as they are");
    convert.add_option("-t,--threads", convert_.threads, "Threads; default: every CPU")->check(CLI::Range(1, 1024));

#if defined(INLAY_CLI_HAS_EIGEN)
    CLI::App& merge = Add("merge", "Work a low-rank adapter into a model's weights", merge_, cli::Merge);
    merge.add_option("model", merge_.model, "GGUF file")->required();
    merge.add_option("adapter", merge_.adapter, "GGUF file of the adapter")->required();
    merge.add_option("output", merge_.output, "GGUF file to write; replaced only when the new one is complete")->required();
    merge.add_option("--scale", merge_.scale, "Strength of the adapter; default 1");
    merge.add_option("-t,--threads", merge_.threads, "Threads; default: every CPU")->check(CLI::Range(1, 1024));
#endif

    CLI::App& inspect = Add("inspect", "What is in a model file", inspect_, cli::Inspect);
    inspect.add_option("model", inspect_.path, "GGUF file, packed file or llama2.c checkpoint")->required();
    inspect.add_flag("--json", inspect_.json, "As JSON");

    CLI::App& describe = Add("describe", "A C++ header with the model as a type", describe_, cli::Describe);
    describe.add_option("model", describe_.path, "GGUF file, packed file or llama2.c checkpoint")->required();
    describe.add_option("--namespace", describe_.name_space, "Namespace of what is declared; default: none");
    describe.add_option("--kv", describe_.kv, "Types of key/value caches that are compiled in; default: f16,q8")
        ->delimiter(',')
        ->transform(CLI::CheckedTransformer(kKvTypes, CLI::ignore_case));
    describe.add_option("-o,--output", describe_.output, "File to write instead of standard output");
  }

  void AddMeasurement() {
    CLI::App& bench = Add("bench", "Speed of a model, as JSON", bench_, cli::Bench);
    AddSession(bench, bench_.model, KvType::kF16);
    bench.add_option("-p,--prompt", bench_.prompt, "Tokens to read; default 512");
    bench.add_option("-n,--generate", bench_.generate, "Tokens to generate; default 128");
    bench.add_option("-d,--depth", bench_.depth, "Tokens that are in the context before both; default 0");
    bench.add_option("-r,--repetitions", bench_.repetitions, "Default 3")->check(CLI::Range(1, 1000));
    bench.add_option("-b,--batch", bench_.batch, "Most tokens of one pass; default 256");

    CLI::App& synth = Add("synth", "Write a model of a known shape with random weights", synth_, cli::Synth);
    std::string shapes;
    for (const inlay::KnownModel& model : inlay::kKnownModels) shapes += (shapes.empty() ? "" : ", ") + std::string(model.name);
    synth.add_option("--like", synth_.like, "Shape: " + shapes)->required();
    synth.add_option("--format", synth_.format, "Weight type or mix: " + cli::FormatNames())->required();
    synth.add_option("output", synth_.output, "GGUF file to write")->required();
    synth.add_option("--seed", synth_.seed, "Default 1");
    synth.add_option("-t,--threads", synth_.threads, "Threads; default: every CPU")->check(CLI::Range(1, 1024));
  }

  CLI::App app_{"Language models on the CPU, with the inlay library"};
  std::function<inlay::Result<void>()> action_;
  cli::RunOptions run_;
  cli::ChatOptions chat_;
  cli::TokenizeOptions tokenize_, detokenize_;
  cli::LogitsOptions logits_;
  cli::EmbedOptions embed_;
  cli::RerankOptions rerank_;
  cli::PerplexityOptions perplexity_;
  cli::DequantOptions dequant_;
  cli::PackOptions pack_;
  cli::QuantizeOptions quantize_;
  cli::ConvertOptions convert_;
  cli::MergeOptions merge_;
  cli::InspectOptions inspect_;
  cli::DescribeOptions describe_;
  cli::BenchOptions bench_;
  cli::SynthOptions synth_;
};

}  // namespace

int main(int argc, char** argv) {
  // The library throws nothing; the standard library does when the system refuses memory or threads.
  try {
    return CommandLine().Main(argc, argv);
  } catch (const std::bad_alloc&) {
    return Complain("out of memory", 5);
  } catch (const std::system_error& error) {
    return Complain(error.what(), 5);
  }
}
