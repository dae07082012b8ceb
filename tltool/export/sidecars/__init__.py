"""What lies beside an exported model: contract, labels, tokenizer, golden examples, README."""
