// llama.cpp's side of the bench: a program that bench/llama_cpp.py starts and tells what to compute.
//
//   llama_cpp MODEL.gguf THREADS CONTEXT SEQUENCES REPACK
//
// REPACK is 1 for llama.cpp's default, 0 for weights as they lie in the file: without tiles (AMX) in particular.
//
// Reads commands, one a line, and answers each with one line when the work is done:
//
//   first N T...    read a prompt of N tokens afresh            -> the most probable next token
//   hold N T...     every sequence holds these N tokens         -> ok
//   decode N        N greedy steps of every sequence, which are then forgotten: each sequence holds again
//                   what `hold` gave it                         -> the last step's tokens
//
// Greedy decoding through the library itself: no sampler chain, no text, nothing that only a program for
// people does. https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "llama.h"

namespace {

[[noreturn]] void fail(const std::string& why) {
  std::cerr << why << std::endl;
  std::exit(1);
}

class Peer {
 public:
  Peer(const char* path, int threads, int context, int sequences, bool repack) : sequences_(sequences) {
    llama_model_params model = llama_model_default_params();
    model.n_gpu_layers = 0;
    model.use_extra_bufts = repack;
    model_ = llama_model_load_from_file(path, model);
    if (model_ == nullptr) fail("llama.cpp could not load the model");
    llama_context_params params = llama_context_default_params();
    params.n_ctx = context * sequences;
    params.n_batch = std::max(512, context);
    params.n_seq_max = sequences;
    params.n_threads = params.n_threads_batch = threads;
    params.no_perf = true;
    context_ = llama_init_from_model(model_, params);
    if (context_ == nullptr) fail("llama.cpp could not make a context");
    vocabulary_ = llama_vocab_n_tokens(llama_model_get_vocab(model_));
    batch_ = llama_batch_init(params.n_batch, 0, 1);
  }

  int first(const std::vector<llama_token>& prompt) {
    llama_memory_clear(llama_get_memory(context_), false);
    read(prompt, 0);
    return best(batch_.n_tokens - 1);
  }

  void hold(const std::vector<llama_token>& prompt) {
    llama_memory_clear(llama_get_memory(context_), false);
    held_ = static_cast<int>(prompt.size());
    last_.clear();
    for (int s = 0; s < sequences_; s++) {
      read(prompt, s);
      last_.push_back(best(batch_.n_tokens - 1));
    }
  }

  std::vector<llama_token> decode(int steps) {
    std::vector<llama_token> tokens = last_;
    for (int i = 0; i < steps; i++) {
      batch_.n_tokens = 0;
      for (int s = 0; s < sequences_; s++) add(tokens[s], held_ + i, s, true);
      run();
      for (int s = 0; s < sequences_; s++) tokens[s] = best(s);
    }
    for (int s = 0; s < sequences_; s++) llama_memory_seq_rm(llama_get_memory(context_), s, held_, -1);
    return tokens;
  }

 private:
  void add(llama_token token, int position, int sequence, bool logits) {
    const int i = batch_.n_tokens++;
    batch_.token[i] = token;
    batch_.pos[i] = position;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = sequence;
    batch_.logits[i] = logits;
  }

  void read(const std::vector<llama_token>& prompt, int sequence) {
    batch_.n_tokens = 0;
    for (size_t i = 0; i < prompt.size(); i++) add(prompt[i], i, sequence, i + 1 == prompt.size());
    run();
  }

  void run() {
    if (llama_decode(context_, batch_) != 0) fail("llama_decode failed");
  }

  llama_token best(int i) {
    const float* logits = llama_get_logits_ith(context_, i);
    return std::max_element(logits, logits + vocabulary_) - logits;
  }

  llama_model* model_;
  llama_context* context_;
  llama_batch batch_;
  int vocabulary_, sequences_, held_ = 0;
  std::vector<llama_token> last_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) fail("usage: llama_cpp MODEL.gguf THREADS CONTEXT SEQUENCES REPACK");
  llama_log_set([](ggml_log_level level, const char* text, void*) {
    if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
  }, nullptr);
  Peer peer(argv[1], std::atoi(argv[2]), std::atoi(argv[3]), std::atoi(argv[4]), std::atoi(argv[5]));
  std::cout << llama_print_system_info() << std::endl;

  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string command;
    int count = 0;
    words >> command >> count;
    std::vector<llama_token> tokens;
    for (llama_token token; words >> token;) tokens.push_back(token);
    if (command == "first") {
      std::cout << peer.first(tokens);
    } else if (command == "hold") {
      peer.hold(tokens);
      std::cout << "ok";
    } else if (command == "decode") {
      for (llama_token token : peer.decode(count)) std::cout << token << " ";
    } else {
      fail("unknown command: " + line);
    }
    std::cout << std::endl;
  }
}
