// What inlay_embed_model() runs when there is no "inlay" program: its commands "describe" and "pack", and nothing else, so that
// a project that embeds a model waits for the compiler of little code and needs no other library.
//
//   embedder describe FILE --namespace NAME --output HEADER [--kv TYPE,...]
//   embedder pack FILE PACKED
#include <cstddef>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "examples/cli/commands.hpp"
#include "examples/cli/common.hpp"
#include "inlay/formats/kv_type.hpp"

namespace {

// "f16,q8"; none: there is no such type.
std::optional<std::vector<inlay::KvType>> ParseKvTypes(std::string_view list) {
  std::vector<inlay::KvType> types;
  while (!list.empty()) {
    const std::string_view name = list.substr(0, list.find(','));
    list.remove_prefix(name.size() < list.size() ? name.size() + 1 : list.size());
    const std::size_t before = types.size();
    for (const inlay::KvType type : inlay::AllKvTypes::kList) {
      if (inlay::Name(type) == name) types.push_back(type);
    }
    if (types.size() == before) return std::nullopt;
  }
  return types;
}

// None: the arguments are not understood.
std::optional<inlay::Result<void>> Run(std::span<char* const> arguments) {
  if (arguments.size() < 2) return std::nullopt;
  const std::string_view command = arguments[0];
  if (command == "pack" && arguments.size() == 3) {
    cli::PackOptions options;
    options.model.path = arguments[1];
    options.output = arguments[2];
    return cli::Pack(options);
  }
  if (command != "describe" || arguments.size() % 2 != 0) return std::nullopt;
  cli::DescribeOptions options;
  options.path = arguments[1];
  for (std::size_t i = 2; i < arguments.size(); i += 2) {
    const std::string_view name = arguments[i], value = arguments[i + 1];
    if (name == "--namespace") {
      options.name_space = value;
    } else if (name == "--output") {
      options.output = value;
    } else if (const auto types = name == "--kv" ? ParseKvTypes(value) : std::nullopt) {
      options.kv = *types;
    } else {
      return std::nullopt;
    }
  }
  return cli::Describe(options);
}

}  // namespace

int main(int argc, char** argv) {
  const std::optional<inlay::Result<void>> result = Run({argv + 1, static_cast<std::size_t>(argc > 0 ? argc - 1 : 0)});
  if (!result) {
    std::fputs("embedder: describe FILE --namespace NAME --output HEADER [--kv TYPE,...] | pack FILE PACKED\n", stderr);
    return 2;
  }
  if (*result) return 0;
  std::fprintf(stderr, "embedder: %s\n", result->error().Message().c_str());
  return cli::ExitCode(result->error().code);
}
